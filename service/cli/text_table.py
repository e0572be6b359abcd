"""Tables and other small texts for a terminal.

What a program prints is plain text, without colours and frames; what it holds is made printable. On a terminal a table
is as wide as the terminal at most: columns that may be wrapped continue on the next line, and where that is not enough,
each row is a list of its cells. Elsewhere a row is one line, for `grep` and `awk`.
"""

import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import zip_longest
from typing import Any

import click

from service.errors import UNPRINTABLE, printable

MISSING = "–"
GAP = "  "
MIN_WRAPPED_WIDTH = 12
"""A column is not made narrower than this."""
SHOWN_ID_LENGTH = 8
"""How many characters of a command's id a table shows; `leitstand cancel` takes them for the whole."""
WEEK_SECONDS = 6 * 24 * 3600.0
DAY_SECONDS = 86_400


class TextTable:
    """A table that is rendered in parts: columns two spaces apart, right-aligned except those with an index in `left`.

    A column keeps the width of its longest text so far, so that later parts stay aligned with earlier ones. Those with
    an index in `wrapped` are broken over several lines, the last one first, where a row has no room in `max_width`.
    """

    def __init__(
        self,
        headings: Sequence[str],
        left: frozenset[int] = frozenset({0}),
        wrapped: frozenset[int] = frozenset(),
        max_width: int | None = None,
    ) -> None:
        self._headings: Sequence[str] | None = headings
        self._left = left
        self._wrapped = wrapped
        self._max_width = output_width() if max_width is None else max_width
        self._widths = [0] * len(headings)

    def render(self, rows: Iterable[Sequence[str]]) -> str:
        """Return the next rows as lines, with the headings before the first row."""
        lines = _printable_lines(([self._headings] if self._headings is not None else []) + [*rows])
        self._headings = None
        if lines:
            columns = zip(*lines, strict=True)
            self._widths = [max(width, *map(len, column)) for width, column in zip(self._widths, columns, strict=True)]
        widths = self._fitting_widths()
        if widths == self._widths:
            form = GAP.join(f"%{'-' * (index in self._left)}{width}s" for index, width in enumerate(widths))
            return "\n".join([(form % tuple(line)).rstrip() for line in lines])
        return "\n".join(text for line in lines for text in self._lines(line, widths))

    def has_room(self) -> bool:
        """Return whether the rows so far fit into `max_width`."""
        width = sum(self._fitting_widths()) + len(GAP) * (len(self._widths) - 1)
        return self._max_width is None or width <= self._max_width

    def _fitting_widths(self) -> list[int]:
        """Return the widths of the columns, the wrapped ones made narrower where all together have no room."""
        widths = list(self._widths)
        if self._max_width is None:
            return widths
        for index in sorted(self._wrapped, reverse=True):
            excess = sum(widths) + len(GAP) * (len(widths) - 1) - self._max_width
            if excess > 0:
                widths[index] = min(widths[index], max(MIN_WRAPPED_WIDTH, widths[index] - excess))
        return widths

    def _lines(self, texts: Sequence[str], widths: Sequence[int]) -> Iterable[str]:
        cells = [broken(text, width) for text, width in zip(texts, widths, strict=True)]
        for row in zip_longest(*cells, fillvalue=""):
            columns = enumerate(zip(row, widths, strict=True))
            padded = (
                text.ljust(width) if index in self._left else text.rjust(width) for index, (text, width) in columns
            )
            yield GAP.join(padded).rstrip()


def _printable_lines(lines: Sequence[Sequence[str]]) -> Sequence[Sequence[str]]:
    """Return lines with printable cells; nearly always they are, which is asked for all at once."""
    if UNPRINTABLE.search("".join(["".join(line) for line in lines])) is None:
        return lines
    return [[*map(printable, line)] for line in lines]


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    left: frozenset[int] = frozenset({0}),
    wrapped: frozenset[int] = frozenset(),
) -> str:
    """Return the whole table as `TextTable` does; where the terminal has no room, each row is a list of its cells."""
    listed = [*rows]
    whole = TextTable(headings, left, wrapped)
    text = whole.render(listed)
    return text if whole.has_room() else _row_lists(headings, listed, output_width() or 0)


def _row_lists(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> str:
    """Return each row as lines of heading and cell, with an empty line between rows; empty cells are left out."""
    label_width = max(map(len, headings))
    cell_width = max(width - label_width - len(GAP), MIN_WRAPPED_WIDTH)
    blocks = []
    for row in _printable_lines(rows):
        lines = [
            f"{label if at == 0 else '':<{label_width}}{GAP}{part}".rstrip()
            for label, cell in zip(headings, row, strict=True)
            if cell
            for at, part in enumerate(broken(cell, cell_width))
        ]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def side_by_side(
    fixed: Mapping[str, Sequence[str]], columns: Mapping[str, Sequence[str]], left: frozenset[int] = frozenset({0})
) -> str:
    """Return columns by heading as one table, or as several with the `fixed` ones in each, as the terminal is wide."""
    tables: list[str] = []
    waiting = dict(columns)
    while waiting or not tables:
        chosen = dict(fixed)
        for name in list(waiting):
            if len(chosen) > len(fixed) and not _has_room({**chosen, name: waiting[name]}):
                break
            chosen[name] = waiting.pop(name)
        tables.append(table(list(chosen), zip(*chosen.values(), strict=True), left))
    return "\n\n".join(tables)


def _has_room(columns: Mapping[str, Sequence[str]]) -> bool:
    widths = [max(map(len, (name, *texts))) for name, texts in columns.items()]
    max_width = output_width()
    return max_width is None or sum(widths) + len(GAP) * (len(widths) - 1) <= max_width


def output_width() -> int | None:
    """Return the columns of the terminal that is printed to; None where the output is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def broken(text: str, width: int) -> list[str]:
    """Return a text in lines of at most `width`: broken between words, and within those that are longer."""
    if len(text) <= width:
        return [text]
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if len(joined) <= width:
            lines[-1] = joined
            continue
        pieces = [word[at : at + width] for at in range(0, len(word), width)] or [""]
        lines[-1:] = pieces if not lines[-1] else [lines[-1], *pieces]
    return lines


def pairs(rows: Sequence[tuple[str, str]]) -> str:
    """Return lines of name and value, with the values aligned."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {printable(value)}".rstrip() for name, value in rows)


def show_line(text: str, *, err: bool = False) -> None:
    """Print one line to standard output, or to standard error."""
    click.echo(printable(text), err=err)


def show_text(text: str) -> None:
    """Print a text with its own line breaks."""
    click.echo(printable(text, kept="\n\t"), nl=False)


def number(value: Any, pattern: str = ".4f") -> str:
    """Format a number, or return a dash for None."""
    return MISSING if value is None else format(value, pattern)


def moment(unix_seconds: float | None) -> str:
    """Format a time in this machine's time zone, or return a dash for None."""
    return MISSING if unix_seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_seconds))


def short_moment(unix_seconds: float | None) -> str:
    """Format a time in at most 12 columns: the time of day, with the day where that is another, or the date."""
    if unix_seconds is None:
        return MISSING
    if abs(time.time() - unix_seconds) >= WEEK_SECONDS:
        return _date(unix_seconds)
    at, now = time.localtime(unix_seconds), time.localtime()
    return time.strftime("%H:%M:%S" if at[:3] == now[:3] else "%a %H:%M:%S", at)


def _date(unix_seconds: float) -> str:
    """Return the date in this machine's time zone; most of thousands lie on few days, whose dates are kept."""
    offset = _utc_offset(int(unix_seconds // DAY_SECONDS), time.tzname)
    if offset is None:
        return time.strftime("%Y-%m-%d", time.localtime(unix_seconds))
    return _date_of_day(int((unix_seconds + offset) // DAY_SECONDS))


@lru_cache(maxsize=4096)
def _utc_offset(utc_day: int, _zone: tuple[str, str]) -> int | None:
    """Return the seconds that clocks here are ahead of UTC all through a day since 1970; None if they are changed."""
    first, last = (time.localtime(day * DAY_SECONDS).tm_gmtoff for day in (utc_day, utc_day + 1))
    return first if first == last else None


@lru_cache(maxsize=4096)
def _date_of_day(day: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(day * DAY_SECONDS))


def duration(seconds: float | None) -> str:
    """Format a duration in at most ten columns: `0.4 s`, `12 s`, `3 min 20 s`, `33 min`, `5 h 2 min` or `27 h`."""
    if seconds is None:
        return MISSING
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes < 10 else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 10 else f"{hours} h"


def size(size_bytes: int) -> str:
    """Format a size, for example `812 B`, `1.4 KiB` or `36.2 MiB`."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    value, units = size_bytes / 1024, ["KiB", "MiB", "GiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.1f} {units[0]}"
