"""Aligned text: rows under headings, and lines of name and value. No colours, no frames."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

MISSING = "–"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], left: frozenset[int] = frozenset({0})) -> str:
    """Columns two spaces apart, numbers to the right, the columns in `left` to the left."""
    lines = [list(headings), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column in left else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


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
