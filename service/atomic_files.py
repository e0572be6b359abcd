"""Writing a file whole or not at all: temporary name in the same folder, fsync, replace, fsync of the folder."""

import hashlib
import os
from functools import partial
from io import FileIO
from pathlib import Path

# Each read, write and update of a hash gives up the interpreter, and beside a busy Python loop every return costs up to
# 5 ms. Larger pieces than this gain little and let torch hold the interpreter for longer at a time.
PIECE_BYTES = 4 * 1024 * 1024
TEMPORARY_PREFIX = ".tmp-"


def write_whole(path: Path, content: bytes, *, mode: int = 0o666) -> str:
    """Replace `path` by `content` atomically and durably; returns the sha256 in hexadecimal.

    Readers see the old file or the new one, never a part. `mode` is who may use it, from its first moment on, as far
    as the umask allows. Raises `OSError` and leaves no temporary file behind.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb", opener=partial(os.open, mode=mode)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return hashlib.sha256(content).hexdigest()


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def point_link(link: Path, target: str) -> None:
    """Make `link` a symbolic link to `target` (relative), replacing an earlier link in one step."""
    temporary = link.with_name(f"{TEMPORARY_PREFIX}{link.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)
    sync_folder(link.parent)


def sha256_of(path: Path) -> str:
    """The sha256 of a file in hexadecimal, read in pieces."""
    sha256, buffer = hashlib.sha256(), memoryview(bytearray(min(PIECE_BYTES, max(1, path.stat().st_size))))
    with FileIO(path) as file:
        while count := file.readinto(buffer):
            sha256.update(buffer[:count])
    return sha256.hexdigest()
