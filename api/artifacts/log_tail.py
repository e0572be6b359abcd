"""Last lines of a log file, read backwards from its end, so that the cost does not depend on its length."""

import os
from collections.abc import Iterator
from pathlib import Path

from api.artifacts.safe_read import UnsafeFileError, open_safely

MAX_BYTES = 4 * 1024 * 1024
"""Limit for the result: if the lines are longer, fewer are returned and the first of them is cut."""
CHUNK_BYTES = 64 * 1024


def last_lines(path: Path, count: int) -> bytes | None:
    """Return the last `count` lines of a regular file, or None if there is none; raises `OSError`.

    Lines appended during the call are not included, nor is a file that a rotation puts in its place.
    """
    try:
        with open_safely(path) as (descriptor, status):
            return _last_lines(descriptor, status.st_size, count)
    except (FileNotFoundError, NotADirectoryError, UnsafeFileError):
        return None


def _last_lines(descriptor: int, size: int, count: int) -> bytes:
    chunks: list[bytes] = []
    remaining = count
    for chunk in _chunks_backwards(descriptor, size):
        chunks.append(chunk)
        # The last line may or may not end with a line break.
        remaining -= chunk.count(b"\n") - (len(chunks) == 1 and chunk.endswith(b"\n"))
        if remaining <= 0:
            break
    text = b"".join(reversed(chunks))
    breaks = count + text.endswith(b"\n")
    lines = text.rsplit(b"\n", breaks)
    return b"\n".join(lines[1:]) if len(lines) > breaks else text


def _chunks_backwards(descriptor: int, size: int) -> Iterator[bytes]:
    """Yield the first `size` bytes of the file in chunks from the end backwards, at most MAX_BYTES in total."""
    for stop in range(size, max(0, size - MAX_BYTES), -CHUNK_BYTES):
        start = max(0, stop - CHUNK_BYTES)
        yield os.pread(descriptor, stop - start, start)
