"""Atomic and durable file writes: temporary name in the same folder, fsync, rename, fsync of the folder."""

import hashlib
import os
from functools import partial
from io import FileIO
from pathlib import Path

# Each read, write and hash update releases the GIL; with a busy Python loop in another thread, taking it back costs up
# to 5 ms. Chunks larger than this gain little and let torch hold the GIL for longer.
CHUNK_BYTES = 4 * 1024 * 1024
TEMPORARY_PREFIX = ".tmp-"


def write_atomically(path: Path, content: bytes, *, mode: int = 0o666) -> str:
    """Replace the file at `path` by `content` atomically and durably; returns the hexadecimal sha256 of `content`.

    Readers see either the old or the new file, never a part. `mode` are the permission bits of the new file, limited by
    the umask; they apply from its creation on. Raises `OSError` and then leaves no temporary file.
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
    """Flush the folder's directory entries to disk, so that renames in it are durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_link(link: Path, target: str) -> None:
    """Make `link` a symbolic link to the relative path `target`; replaces an existing link atomically."""
    temporary = link.with_name(f"{TEMPORARY_PREFIX}{link.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)
    sync_folder(link.parent)


def sha256_of(path: Path) -> str:
    """Return the hexadecimal sha256 of a file, which is read in chunks. Raises `OSError`."""
    sha256, buffer = hashlib.sha256(), memoryview(bytearray(min(CHUNK_BYTES, max(1, path.stat().st_size))))
    with FileIO(path) as file:
        while count := file.readinto(buffer):
            sha256.update(buffer[:count])
    return sha256.hexdigest()
