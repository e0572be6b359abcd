"""Reading files that others write, and that may be anything: never through a link, never a pipe, never too much."""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_OPENING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class UnsafeFileError(Exception):
    """What lies there is no ordinary file, or too large; the text says what it is."""


@dataclass(frozen=True)
class SafeFile:
    """All bytes of a file and what belongs to them. `modified_at` is Unix seconds."""

    content: bytes
    sha256: str
    modified_at: float


@contextmanager
def open_safely(path: Path | str, *, folder: int | None = None) -> Iterator[tuple[int, os.stat_result]]:
    """An ordinary file's descriptor and status; `folder` is the descriptor that a relative path begins at.

    Raises `OSError`, or `UnsafeFileError` when something else lies there.
    """
    try:
        descriptor = os.open(path, _OPENING, dir_fd=folder)
    except OSError:
        if stat.S_ISLNK(os.stat(path, dir_fd=folder, follow_symlinks=False).st_mode):
            raise UnsafeFileError("it is a symbolic link") from None
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UnsafeFileError("it is a folder" if stat.S_ISDIR(status.st_mode) else "it is no ordinary file")
        yield descriptor, status
    finally:
        os.close(descriptor)


def read_safely(path: Path | str, most_bytes: int, *, folder: int | None = None) -> SafeFile:
    """A file's bytes up to the size that it has now; raises as `open_safely`, also when it exceeds `most_bytes`."""
    with open_safely(path, folder=folder) as (descriptor, status):
        if status.st_size > most_bytes:
            raise UnsafeFileError(f"it has {status.st_size} bytes")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(status.st_size)
    return SafeFile(content, hashlib.sha256(content).hexdigest(), status.st_mtime)
