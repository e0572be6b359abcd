"""Tables and values as aligned plain text, without colours and frames."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

MISSING = "–"


class TextTable:
    """A table that is rendered in parts: columns two spaces apart, right-aligned except those with an index in `left`.

    A column keeps the width of its longest text so far, so that later parts stay aligned with earlier ones.
    """

    def __init__(self, headings: Sequence[str], left: frozenset[int] = frozenset({0})) -> None:
        self._headings: Sequence[str] | None = headings
        self._left = left
        self._widths = [0] * len(headings)

    def render(self, rows: Iterable[Sequence[str]]) -> str:
        """Return the next rows as lines, with the headings before the first row."""
        lines = [*([self._headings] if self._headings is not None else []), *rows]
        self._headings = None
        self._widths = [max([width, *(len(line[index]) for line in lines)]) for index, width in enumerate(self._widths)]
        return "\n".join(self._line(line) for line in lines)

    def _line(self, texts: Sequence[str]) -> str:
        columns = enumerate(zip(texts, self._widths, strict=True))
        cells = (text.ljust(width) if index in self._left else text.rjust(width) for index, (text, width) in columns)
        return "  ".join(cells).rstrip()


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], left: frozenset[int] = frozenset({0})) -> str:
    """Return the whole table; see `TextTable`."""
    return TextTable(headings, left).render(rows)


def pairs(rows: Sequence[tuple[str, str]]) -> str:
    """Return lines of name and value, with the values aligned."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}".rstrip() for name, value in rows)


def number(value: Any, pattern: str = ".4f") -> str:
    """Format a number, or return a dash for None."""
    return MISSING if value is None else format(value, pattern)


def moment(unix_seconds: float | None) -> str:
    """Format a time in this machine's time zone, or return a dash for None."""
    return MISSING if unix_seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_seconds))


def duration(seconds: float | None) -> str:
    """Format a duration, for example `0.4 s`, `12 s`, `3 min 20 s` or `5 h 2 min`."""
    if seconds is None:
        return MISSING
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size(size_bytes: int) -> str:
    """Format a size, for example `812 B`, `1.4 KiB` or `36.2 MiB`."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    value, units = size_bytes / 1024, ["KiB", "MiB", "GiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.1f} {units[0]}"
