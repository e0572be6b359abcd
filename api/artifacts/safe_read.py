"""Safe reading of files that other programs write: never through a link, never from a pipe, never above a limit."""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class UnsafeFileError(Exception):
    """The path is not a regular file, or the file is too large; the text is the reason."""


@dataclass(frozen=True)
class SafeFile:
    """Content of a file with its sha256 (hexadecimal) and modification time; `modified_at` is Unix seconds."""

    content: bytes
    sha256: str
    modified_at: float


@contextmanager
def open_safely(path: Path | str, *, folder: int | None = None) -> Iterator[tuple[int, os.stat_result]]:
    """Open a regular file; yields its descriptor and status. A relative path starts at the descriptor `folder`.

    Raises `OSError`, or `UnsafeFileError` if the path is not a regular file.
    """
    descriptor = _open(path, folder)
    try:
        yield descriptor, _status(descriptor)
    finally:
        os.close(descriptor)


def read_safely(path: Path | str, max_bytes: int, *, folder: int | None = None) -> SafeFile:
    """Read a file up to its size when opened; raises like `open_safely`, also if it exceeds `max_bytes`."""
    with open_safely(path, folder=folder) as (descriptor, status):
        content = _content(descriptor, status, max_bytes)
    return SafeFile(content, hashlib.sha256(content).hexdigest(), status.st_mtime)


def read_content(path: Path | str, max_bytes: int) -> tuple[bytes, os.stat_result]:
    """Read a file like `read_safely`; returns its content, without the sha256, and its status."""
    descriptor = _open(path, None)
    try:  # thousands per answer: a context manager would show
        status = _status(descriptor)
        return _content(descriptor, status, max_bytes), status
    finally:
        os.close(descriptor)


def _open(path: Path | str, folder: int | None) -> int:
    try:
        return os.open(path, _OPEN_FLAGS, dir_fd=folder)
    except OSError:
        if stat.S_ISLNK(os.stat(path, dir_fd=folder, follow_symlinks=False).st_mode):
            raise UnsafeFileError("it is a symbolic link") from None
        raise


def _status(descriptor: int) -> os.stat_result:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise UnsafeFileError("it is a folder" if stat.S_ISDIR(status.st_mode) else "it is no ordinary file")
    return status


def _content(descriptor: int, status: os.stat_result, max_bytes: int) -> bytes:
    if status.st_size > max_bytes:
        raise UnsafeFileError(f"it has {status.st_size} bytes")
    return os.read(descriptor, status.st_size)
