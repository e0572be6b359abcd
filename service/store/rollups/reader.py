"""Reads the history of a run's values as few buckets without reading every log point.

The store holds rollups of 16, 32, 64 … steps beside the log points (`service/store/rollups/writer.py` writes them).
Ranges with few log points have no rollup, and the newest log points have none yet; there the log points are read, so
the result always equals the one computed from all log points.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from service.store.rollups.buckets import POINTS, Buckets, Point, unpack_wanted
from service.store.tables import series, series_progress, series_summaries

LEVEL_SIZES = tuple(16 * 2**power for power in range(56))
"""Number of steps that a rollup of level 1, 2, 3 … covers."""
MIN_POINTS = 8
"""A range of steps with fewer log points has no rollup."""
MAX_BRIDGED_POINTS = 64
"""Two gaps between rollups are read in one query if the rollups between them cover at most so many log points."""
MAX_NAME_BYTES = 63
"""Maximum length of the name of a value, because of PostgreSQL's limit for identifiers."""
FETCH_SIZE = 1000
"""Log points that are fetched into memory at a time."""


class RollupReader:
    """Reads one run's history inside a transaction; `names` are the values to read, None means all."""

    def __init__(self, connection: sa.Connection, run_id: str, names: Sequence[str] | None = None) -> None:
        self._connection = connection
        self._run_id = run_id
        self._names = None if names is None else [name for name in names if _is_selectable(name)]

    def span(self, first: int, last: int) -> tuple[int, int] | None:
        """Return the first and the last step with a log point in `first` to `last`, both included, or None."""
        within = sa.select(series.c.step).where(self._between(first, last)).limit(1)
        low = self._connection.execute(within.order_by(series.c.step)).scalar()
        high = self._connection.execute(within.order_by(series.c.step.desc())).scalar()
        return None if low is None or high is None else (low, high)

    def read(self, first: int, last: int, points: int) -> Buckets:
        """Return the values between two steps, both included, as one bucket per log point or about `points` buckets.

        All buckets have the same width and are aligned to a grid; they aggregate only steps in the range.
        """
        level, width = 0, 1
        if self._has_more_points(first, last, points):
            level, width = _grid(last - first + 1, points)
        buckets = Buckets(width)
        progress = sa.select(series_progress.c.summarised_to).where(series_progress.c.run_id == self._run_id)
        self.read_into(buckets, first, last, level, self._connection.execute(progress).scalar() or 0)
        return buckets

    def read_into(self, buckets: Buckets, first: int, last: int, level: int, rollup_end: int) -> None:
        """Add the values between two steps to `buckets`, from rollups of this level and of finer ones at the ends.

        Before the step `rollup_end`, every range with enough log points has a rollup.
        """
        indices = _complete_indices(first, last, level, rollup_end)
        if level == 0:
            buckets.add_points(self._points(first, last))
        elif not indices:
            self.read_into(buckets, first, last, level - 1, rollup_end)
        else:
            size = LEVEL_SIZES[level - 1]
            if first < indices.start * size:
                self.read_into(buckets, first, indices.start * size - 1, level - 1, rollup_end)
            self._read_rollups(buckets, indices, level)
            if indices.stop * size <= last:
                self.read_into(buckets, indices.stop * size, last, level - 1, rollup_end)

    def _read_rollups(self, buckets: Buckets, indices: range, level: int) -> None:
        """Add the rollups with these indices, and the log points of ranges without a rollup."""
        size, counts = LEVEL_SIZES[level - 1], {}
        wanted = None if self._names is None else frozenset({POINTS, *self._names})
        key = {"run": self._run_id, "of_level": level, "start": indices.start, "stop": indices.stop}
        for index, names, content in self._connection.execute(_SELECT_ROLLUPS, key):
            found = unpack_wanted(names, content, wanted)
            buckets.add_all(found)
            if (points := next((bucket for name, bucket in found if name == POINTS), None)) is not None:
                counts[index] = points.count
        for gap in _gaps(indices, counts):
            between = self._points(gap.start * size, gap.stop * size - 1)
            buckets.add_points(point for point in between if point[0] // size not in counts)

    def _points(self, first: int, last: int) -> Iterator[Point]:
        """Yield the log points between two steps, both included, in order."""
        if self._names is None:
            for step, values in self._rows(sa.select(series.c.step, series.c["values"]), first, last):
                yield step, values
        else:  # the database extracts few values faster
            for step, *values in self._rows(_select_values(self._names, self._connection.dialect.name), first, last):
                yield step, dict(zip(self._names, values, strict=True))

    def _rows(self, query: sa.Select[Any], first: int, last: int) -> Iterator[Any]:
        rows = query.where(self._between(first, last)).order_by(series.c.step)
        return iter(self._connection.execute(rows, execution_options={"yield_per": FETCH_SIZE}))

    def _has_more_points(self, first: int, last: int, points: int) -> bool:
        steps = sa.select(series.c.step).where(self._between(first, last)).order_by(series.c.step)
        return self._connection.execute(steps.limit(1).offset(points)).first() is not None

    def _between(self, first: int, last: int) -> sa.ColumnElement[bool]:
        return (series.c.run_id == self._run_id) & (series.c.step >= first) & (series.c.step <= last)


# Executed many times per request, so it is built only once.
_in_range = (series_summaries.c.bucket >= sa.bindparam("start")) & (series_summaries.c.bucket < sa.bindparam("stop"))
_of_level = (series_summaries.c.run_id == sa.bindparam("run")) & (series_summaries.c.level == sa.bindparam("of_level"))
_SELECT_ROLLUPS = (
    sa.select(
        series_summaries.c.bucket, sa.cast(series_summaries.c.names, sa.Text), series_summaries.c.stretches
    )  # as text, because decoding it takes longer than reading it
    .where(_of_level & _in_range)
    .order_by(series_summaries.c.bucket)
)


def _is_selectable(name: str) -> bool:
    """Return True if both databases can select a value of this name; the trainer logs no other names."""
    return not {'"', "\\"} & set(name) and 0 < len(name.encode()) <= MAX_NAME_BYTES


def _select_values(names: Sequence[str], dialect: str) -> sa.Select[Any]:
    """Return the query for step and these values, in which the database parses each log point only once."""
    column = series.c["values"]
    if dialect != "postgresql" or not names:
        return sa.select(series.c.step, *(column[name].as_float() for name in names))
    fields = (sa.column(name, sa.Double) for name in names)
    record = sa.func.json_to_record(column).table_valued(*fields).render_derived(with_types=True)
    return sa.select(series.c.step, *record.c).select_from(series.join(record, sa.true()))


def _grid(steps: int, points: int) -> tuple[int, int]:
    """Return the level to read and the bucket width in steps for about `points` buckets, and at least half as many."""
    level = sum(size * points <= 2 * steps for size in LEVEL_SIZES)
    size = LEVEL_SIZES[level - 1] if level else 1
    return level, size * -(-steps // (size * points))


def _complete_indices(first: int, last: int, level: int, rollup_end: int) -> range:
    """Return the indices of a level's rollups that lie entirely between two steps and before `rollup_end`."""
    size = LEVEL_SIZES[level - 1]
    return range(-(-first // size), min(last + 1, rollup_end) // size)


def _gaps(indices: range, counts: dict[int, int]) -> Iterator[range]:
    """Yield ranges of indices without a rollup; gaps with few log points between them are joined."""
    gap, points_between, previous = range(0), 0, indices.start - 1
    for index, count in [*counts.items(), (indices.stop, 0)]:
        if index - previous > 1:
            if gap and points_between > MAX_BRIDGED_POINTS:
                yield gap
                gap = range(0)
            gap, points_between = range(gap.start if gap else previous + 1, index), 0
        points_between, previous = points_between + count, index
    if gap:
        yield gap
