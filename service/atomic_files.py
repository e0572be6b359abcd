"""Atomic and durable file writes: temporary name in the same folder, fsync, rename, fsync of the folder.

And reading small files of folders that other people can write, which may hold anything under any name.
"""

import errno
import hashlib
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from io import FileIO
from pathlib import Path
from typing import IO

# Each read, write and hash update releases the GIL; with a busy Python loop in another thread, taking it back costs up
# to 5 ms. Chunks larger than this gain little and let torch hold the GIL for longer.
CHUNK_BYTES = 4 * 1024 * 1024
TEMPORARY_PREFIX = ".tmp-"
SMALL_FILE_BYTES = 16 * 1024 * 1024


def write_atomically(path: Path, content: bytes, *, mode: int = 0o666, replaces: bool = True) -> str:
    """Replace the file at `path` by `content` atomically and durably; returns the hexadecimal sha256 of `content`.

    Readers see either the old or the new file, never a part. `mode` are the permission bits of the new file, limited by
    the umask; they apply from its creation on. Without `replaces`, an existing file stays and `FileExistsError` is
    raised, also if another process creates it at this moment. Raises `OSError` and then leaves no temporary file.
    """
    # Other machines may write to the same folder, with the same process number.
    unique = "" if replaces else f".{uuid.uuid4().hex[:8]}"
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}.{os.getpid()}{unique}")
    try:
        with open(temporary, "wb", opener=partial(os.open, mode=mode)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replaces:
            temporary.replace(path)
        else:
            move_without_replacing(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return hashlib.sha256(content).hexdigest()


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file for writing that durably replaces `path` at the end; it is deleted after an error.

    If `path` is a symbolic link, its target is replaced. A device or a pipe is written directly.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as special:
            yield special
        return
    path = path.resolve()
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def move_without_replacing(source: Path, target: Path) -> None:
    """Rename a file; raises `FileExistsError` if there is a file at `target`."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        source.replace(target)
    else:
        source.unlink()


def open_ordinary(path: Path) -> FileIO:
    """Open an ordinary file for reading, also through a link.

    Raises `OSError`, also for anything else: a pipe would keep the reader waiting for ever, a device would never end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return FileIO(descriptor)
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is no ordinary file", str(path))


def opened_without_waiting(path: str, flags: int) -> int:
    """Open a file for `open(opener=…)`, so that a pipe in its place does not keep the writer waiting for a reader.

    Raises `OSError`.
    """
    try:
        return os.open(path, flags | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OSError(errno.ENXIO, "it is a pipe that nobody reads", path) from None
        raise


def read_small_file(path: Path) -> bytes:
    """Return the content of an ordinary file of at most SMALL_FILE_BYTES. Raises `OSError`."""
    with open_ordinary(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > SMALL_FILE_BYTES:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes", str(path))
        return file.readall()


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
    with open_ordinary(path) as file:
        while count := file.readinto(buffer):
            sha256.update(buffer[:count])
    return sha256.hexdigest()
