"""The history of a run's values, reduced to few buckets without reading every log point.

Summaries of 16, 32, 64 … steps lie beside the log points (`service/store/rollups/writer.py` makes them). Steps with few
log points have none: these are read themselves, as are those too new to be summarised, so that what comes out is always
what one would compute from the log points alone.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from service.store.rollups.buckets import POINTS, Buckets, Point, unpacked
from service.store.tables import series, series_progress, series_summaries

LEVEL_SIZES = tuple(16 * 2**power for power in range(56))
"""How many steps a summary of level 1, 2, 3 … covers; so fine a choice that no two need be joined for an answer."""
FEWEST_POINTS = 8
"""As many steps with fewer log points have no summary."""
BRIDGED_POINTS = 64
"""Two gaps with no more summarised log points than this between them are read at once."""
LONGEST_NAME = 63
"""Bytes of a value's name; PostgreSQL has no longer ones."""
AT_A_TIME = 1000
"""Log points that are in memory at a time."""


class History:
    """One run's history as a transaction sees it; `names` are the values to read, None stands for all."""

    def __init__(self, connection: sa.Connection, run_id: str, names: Sequence[str] | None = None) -> None:
        self._connection = connection
        self._run_id = run_id
        self._names = None if names is None else [name for name in names if _can_be_picked(name)]

    def span(self, first: int, last: int) -> tuple[int, int] | None:
        """The first and the last step with a log point from `first` to `last`, both included; None without any."""
        within = sa.select(series.c.step).where(self._between(first, last)).limit(1)
        low = self._connection.execute(within.order_by(series.c.step)).scalar()
        high = self._connection.execute(within.order_by(series.c.step.desc())).scalar()
        return None if low is None or high is None else (low, high)

    def buckets(self, first: int, last: int, points: int) -> Buckets:
        """What was logged between two steps, both included: each point alone, or about `points` buckets.

        All buckets have the same width and lie on a grid of it; they tell exactly what lies within the two steps.
        """
        level, width = 0, 1
        if self._has_more_points(first, last, points):
            level, width = _grid(last - first + 1, points)
        found = Buckets(width)
        progress = sa.select(series_progress.c.summarised_to).where(series_progress.c.run_id == self._run_id)
        self.add_to(found, first, last, level, self._connection.execute(progress).scalar() or 0)
        return found

    def add_to(self, found: Buckets, first: int, last: int, level: int, summarised_to: int) -> None:
        """Add what lies between two steps: told by summaries of this level where they are, by finer ones at the ends.

        Before the step `summarised_to` everything is summarised that has enough points.
        """
        whole = _whole(first, last, level, summarised_to)
        if level == 0:
            found.add_points(self._points(first, last))
        elif not whole:
            self.add_to(found, first, last, level - 1, summarised_to)
        else:
            size = LEVEL_SIZES[level - 1]
            if first < whole.start * size:
                self.add_to(found, first, whole.start * size - 1, level - 1, summarised_to)
            self._add_whole(found, whole, level)
            if whole.stop * size <= last:
                self.add_to(found, whole.stop * size, last, level - 1, summarised_to)

    def _add_whole(self, found: Buckets, whole: range, level: int) -> None:
        """Add the summaries of these numbers, and the log points where there is none."""
        size, counts = LEVEL_SIZES[level - 1], {}
        wanted = None if self._names is None else {POINTS, *self._names}
        key = {"run": self._run_id, "of_level": level, "start": whole.start, "stop": whole.stop}
        for index, names, content in self._connection.execute(_SUMMARIES, key):
            for name, bucket in unpacked(names, content, wanted):
                found.add(name, bucket)
                if name == POINTS:
                    counts[index] = bucket.count
        for gap in _gaps(whole, counts):
            points = self._points(gap.start * size, gap.stop * size - 1)
            found.add_points(point for point in points if point[0] // size not in counts)

    def _points(self, first: int, last: int) -> Iterator[Point]:
        """The log points between two steps, both included, in order."""
        if self._names is None:
            for step, values in self._rows(sa.select(series.c.step, series.c["values"]), first, last):
                yield step, values
        else:  # to pick out few values is quicker in the database
            for step, *picked in self._rows(_picking(self._names, self._connection.dialect.name), first, last):
                yield step, dict(zip(self._names, picked, strict=True))

    def _rows(self, query: sa.Select[Any], first: int, last: int) -> Iterator[Any]:
        within = query.where(self._between(first, last)).order_by(series.c.step)
        return iter(self._connection.execute(within, execution_options={"yield_per": AT_A_TIME}))

    def _has_more_points(self, first: int, last: int, points: int) -> bool:
        some = sa.select(series.c.step).where(self._between(first, last)).order_by(series.c.step)
        return self._connection.execute(some.limit(1).offset(points)).first() is not None

    def _between(self, first: int, last: int) -> sa.ColumnElement[bool]:
        return (series.c.run_id == self._run_id) & (series.c.step >= first) & (series.c.step <= last)


# Asked for many times in one answer, so it is built only once.
_within = (series_summaries.c.bucket >= sa.bindparam("start")) & (series_summaries.c.bucket < sa.bindparam("stop"))
_of_level = (series_summaries.c.run_id == sa.bindparam("run")) & (series_summaries.c.level == sa.bindparam("of_level"))
_SUMMARIES = (
    sa.select(series_summaries.c.bucket, series_summaries.c.names, series_summaries.c.stretches)
    .where(_of_level & _within)
    .order_by(series_summaries.c.bucket)
)


def _can_be_picked(name: str) -> bool:
    """Whether a database can be asked for it; nobody calls a value otherwise."""
    return not {'"', "\\"} & set(name) and 0 < len(name.encode()) <= LONGEST_NAME


def _picking(names: Sequence[str], dialect: str) -> sa.Select[Any]:
    """The query for step and these values, so that the database reads each log point only once."""
    column = series.c["values"]
    if dialect != "postgresql" or not names:
        return sa.select(series.c.step, *(column[name].as_float() for name in names))
    fields = (sa.column(name, sa.Double) for name in names)
    picked = sa.func.json_to_record(column).table_valued(*fields).render_derived(with_types=True)
    return sa.select(series.c.step, *picked.c).select_from(series.join(picked, sa.true()))


def _grid(steps: int, points: int) -> tuple[int, int]:
    """The level to read and the width of buckets that make about `points` of so many steps, and at least half."""
    level = sum(size * points <= 2 * steps for size in LEVEL_SIZES)
    size = LEVEL_SIZES[level - 1] if level else 1
    return level, size * -(-steps // (size * points))


def _whole(first: int, last: int, level: int, summarised_to: int) -> range:
    """The numbers of the summaries of a level that lie between two steps."""
    size = LEVEL_SIZES[level - 1]
    return range(-(-first // size), min(last + 1, summarised_to) // size)


def _gaps(whole: range, counts: dict[int, int]) -> Iterator[range]:
    """The runs of numbers without a summary; those with few points between them are one."""
    gap, between, before = range(0), 0, whole.start - 1
    for index, count in [*counts.items(), (whole.stop, 0)]:
        if index - before > 1:
            if gap and between > BRIDGED_POINTS:
                yield gap
                gap = range(0)
            gap, between = range(gap.start if gap else before + 1, index), 0
        between, before = between + count, index
    if gap:
        yield gap
