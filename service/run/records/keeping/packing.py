"""Packing records with gzip: about a tenth of the room, the same bytes when unpacked, read by everything here."""

import gzip
import io
import json
import os
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from service.atomic_files import SMALL_FILE_BYTES, read_small_file, write_atomically
from service.run.record import PACKED

LEVEL = 6


@dataclass(frozen=True)
class PackedFile:
    """A record's file that was packed, and its bytes before and after."""

    path: Path
    before_bytes: int
    after_bytes: int


def unpacked(content: bytes, max_bytes: int) -> bytes:
    """Return at most `max_bytes` + 1 bytes of what gzip packed; raises `ValueError` if it is damaged or cut off."""
    try:
        return gzip.GzipFile(fileobj=io.BytesIO(content)).read(max_bytes + 1)
    except EOFError:
        raise ValueError("the packed data ends too early") from None
    except (OSError, zlib.error):
        raise ValueError("it is no gzip file, or a damaged one") from None


def read_saved(path: Path) -> bytes:
    """Return the bytes of a record's file, unpacked.

    Raises `OSError`, or `ValueError` if it is damaged or too large.
    """
    content = read_small_file(path)
    if path.suffix != PACKED:
        return content
    content = unpacked(content, SMALL_FILE_BYTES)
    if len(content) > SMALL_FILE_BYTES:
        raise ValueError(f"it is larger than {SMALL_FILE_BYTES:,} bytes")
    return content


def pack(path: Path) -> PackedFile | None:
    """Replace a record's file by one packed with gzip; returns None if that would be no smaller.

    The packed file has the time of the unpacked one. It is read again and compared before the unpacked one goes; a
    reader finds one or the other at any moment. Raises `OSError`, and `ValueError` if it is no JSON object, which is
    damaged and to be looked at, or not what was written.
    """
    status, content = path.stat(), read_small_file(path)
    _require_object(content)
    packed = gzip.compress(content, LEVEL, mtime=0)
    if len(packed) >= len(content):
        return None
    target = path.with_name(f"{path.name}{PACKED}")
    if not (target.exists() and read_saved(target) == content):  # it is there if packing was interrupted
        write_atomically(target, packed, mode=status.st_mode & 0o777, replaces=False)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
    if read_saved(target) != content or _is_changed(path, status):
        target.unlink()
        raise ValueError("it changed while it was packed")
    path.unlink()
    return PackedFile(target, len(content), target.stat().st_size)


def unpack(path: Path) -> PackedFile:
    """Replace a packed record by its file; raises `OSError`, or `ValueError` if it is damaged."""
    status, content = path.stat(), read_saved(path)
    target = path.with_suffix("")
    write_atomically(target, content, mode=status.st_mode & 0o777, replaces=False)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
    path.unlink()
    return PackedFile(target, status.st_size, len(content))


def _require_object(content: bytes) -> None:
    with suppress(ValueError, RecursionError):
        if isinstance(json.loads(content), dict):
            return
    raise ValueError("it is damaged or no record")


def _is_changed(path: Path, before: os.stat_result) -> bool:
    now = path.stat()
    return (now.st_mtime_ns, now.st_size, now.st_ino) != (before.st_mtime_ns, before.st_size, before.st_ino)


def to_pack(paths: Sequence[Path], keep_last: int) -> Sequence[Path]:
    """Return which files to pack, given all of a run by step: not the newest, which a trainer may write again."""
    return [path for path in paths[: len(paths) - keep_last] if path.suffix != PACKED]
