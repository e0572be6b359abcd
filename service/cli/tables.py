"""Aligned text: rows under headings, and lines of name and value. No colours, no frames."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

MISSING = "–"


class Columns:
    """Rows under headings, printed piece by piece: two spaces apart, numbers to the right, those in `left` to the left.

    A column grows with the longest text it has seen, so that later pieces stay in line with earlier ones.
    """

    def __init__(self, headings: Sequence[str], left: frozenset[int] = frozenset({0})) -> None:
        self._headings: Sequence[str] | None = headings
        self._left = left
        self._widths = [0] * len(headings)

    def text(self, rows: Iterable[Sequence[str]]) -> str:
        """The next rows as lines; before the first ones the headings."""
        lines = [*([self._headings] if self._headings is not None else []), *rows]
        self._headings = None
        self._widths = [max([width, *(len(line[at]) for line in lines)]) for at, width in enumerate(self._widths)]
        return "\n".join(self._line(line) for line in lines)

    def _line(self, texts: Sequence[str]) -> str:
        places = enumerate(zip(texts, self._widths, strict=True))
        cells = (text.ljust(width) if at in self._left else text.rjust(width) for at, (text, width) in places)
        return "  ".join(cells).rstrip()


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], left: frozenset[int] = frozenset({0})) -> str:
    """All rows at once under their headings."""
    return Columns(headings, left).text(rows)


def pairs(rows: Sequence[tuple[str, str]]) -> str:
    """Lines of name and value, the values in one column."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}".rstrip() for name, value in rows)


def number(value: Any, pattern: str = ".4f") -> str:
    """A number in this pattern, or a dash where there is none."""
    return MISSING if value is None else format(value, pattern)


def moment(unix_seconds: float | None) -> str:
    """A moment in this machine's time zone."""
    return MISSING if unix_seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_seconds))


def duration(seconds: float | None) -> str:
    """Seconds in words for people: `0.4 s`, `12 s`, `3 min 20 s`, `5 h 2 min`."""
    if seconds is None:
        return MISSING
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size(size_bytes: int) -> str:
    """A size for people: `812 B`, `1.4 KiB`, `36.2 MiB`."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    value, units = size_bytes / 1024, ["KiB", "MiB", "GiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.1f} {units[0]}"
