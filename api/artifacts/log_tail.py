"""The last lines of a log file, read backwards from its end however long it is."""

import os
from collections.abc import Iterator
from pathlib import Path

from api.artifacts.safe_read import UnsafeFileError, open_safely

MOST_BYTES = 4 * 1024 * 1024
"""Where lines are so long that they exceed this, fewer come, the first of them cut off."""
PIECE_BYTES = 64 * 1024


def last_lines(path: Path, count: int) -> bytes | None:
    """The last `count` lines of an ordinary file, or None when there is none. Raises `OSError`.

    What is appended meanwhile is not part of them, nor what a rotation puts in the file's place.
    """
    try:
        with open_safely(path) as (descriptor, status):
            return _end_of(descriptor, status.st_size, count)
    except (FileNotFoundError, NotADirectoryError, UnsafeFileError):
        return None


def _end_of(descriptor: int, size: int, count: int) -> bytes:
    pieces: list[bytes] = []
    missing = count
    for piece in _pieces_backwards(descriptor, size):
        pieces.append(piece)
        # The very last line may or may not be ended already.
        missing -= piece.count(b"\n") - (len(pieces) == 1 and piece.endswith(b"\n"))
        if missing <= 0:
            break
    text = b"".join(reversed(pieces))
    breaks = count + text.endswith(b"\n")
    lines = text.rsplit(b"\n", breaks)
    return b"\n".join(lines[1:]) if len(lines) > breaks else text


def _pieces_backwards(descriptor: int, size: int) -> Iterator[bytes]:
    """The file's bytes up to `size` in pieces, the last one first, at most MOST_BYTES."""
    for stop in range(size, max(0, size - MOST_BYTES), -PIECE_BYTES):
        start = max(0, stop - PIECE_BYTES)
        yield os.pread(descriptor, stop - start, start)
