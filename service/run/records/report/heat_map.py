"""A map of colours as a PNG file, written here: a pixel per value."""

import struct
import zlib
from collections.abc import Sequence

_STOPS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
"""Viridis: as light as the value is high, also in grey and for people who see colours otherwise."""
_UNKNOWN = (200, 200, 200)


def heat_map(rows: Sequence[Sequence[float | None]], highest: float = 100.0) -> bytes:
    """Return a PNG with a pixel per value: from dark for 0 to light for `highest`, grey for None."""
    width = max(map(len, rows), default=0)
    lines = [b"\0" + b"".join(bytes(_colour(value, highest)) for value in row) for row in rows]
    header = struct.pack(">IIBBBBB", width, len(rows), 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"".join(lines), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _colour(value: float | None, highest: float) -> tuple[int, ...]:
    if value is None:
        return _UNKNOWN
    place = min(max(value / highest, 0.0), 1.0) * (len(_STOPS) - 1)
    index = min(int(place), len(_STOPS) - 2)
    share = place - index
    return tuple(round(a + (b - a) * share) for a, b in zip(_STOPS[index], _STOPS[index + 1], strict=True))
