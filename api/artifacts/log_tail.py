"""The end of a log file: its last lines, read backwards, or what was appended since. Neither depends on its length."""

import codecs
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from api.artifacts.safe_read import UnsafeFileError, open_safely

MAX_BYTES = 4 * 1024 * 1024
"""Limit for the result: if the lines are longer, fewer are returned and the first of them is cut."""
CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True)
class LogPart:
    """Text of a log that ends at the byte `offset` of the file with the inode number `inode`.

    `is_continued` says that it begins where the part before it ended.
    """

    text: str
    offset: int
    inode: str
    is_continued: bool

    @property
    def position(self) -> tuple[int, str]:
        """Where the text ends, as `log_part` takes it."""
        return self.offset, self.inode


def log_part(path: Path, count: int, after: tuple[int, str] | None = None) -> LogPart | None:
    """Return what was appended to a log after the position `after` of an earlier part.

    Without one, and where another file has taken the log's place, or more than MAX_BYTES were appended, its last
    `count` lines. What is no UTF-8 is replaced; a character of which the rest is missing is left for the next part.
    Returns None if there is no log; raises `OSError`.
    """
    try:
        with open_safely(path) as (descriptor, status):
            size, inode = status.st_size, str(status.st_ino)
            if after is not None and after[1] == inode and 0 <= size - after[0] <= MAX_BYTES:
                return _part(os.pread(descriptor, size - after[0], after[0]), size, inode, is_continued=True)
            return _part(_last_lines(descriptor, size, count), size, inode, is_continued=False)
    except (FileNotFoundError, NotADirectoryError, UnsafeFileError):
        return None


def _part(content: bytes, end: int, inode: str, *, is_continued: bool) -> LogPart:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(content)
    return LogPart(text, end - len(decoder.getstate()[0]), inode, is_continued)


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
