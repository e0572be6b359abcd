"""Reads the history of a run's values as few buckets without reading every log point.

The store holds rollups of 16, 32, 64 … steps beside the log points (`service/store/rollups/writer.py` writes them).
Ranges with few log points have no rollup, and the newest log points have none yet; there the log points are read, so
the result always equals the one computed from all log points.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson
import sqlalchemy as sa

from service.store.rollups.buckets import POINTS, Buckets, Point, unpack_wanted
from service.store.rollups.columns import BATCH_ROLLUPS, BucketColumns, aggregated, joined, unpack_columns
from service.store.rollups.kept import KEPT, holds
from service.store.tables import runs, series, series_progress, series_summaries

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
        key = {"run": self._run_id, "first": first, "last": last}
        low, high = (self._connection.execute(query, key).scalar() for query in (_FIRST_STEP, _LAST_STEP))
        return None if low is None or high is None else (low, high)

    def read(self, first: int, last: int, points: int) -> Mapping[str, BucketColumns]:
        """Return the values between two steps, both included, as one bucket per log point or about `points` buckets.

        All buckets have the same width and are aligned to a grid; they aggregate only steps in the range. The names
        must be known.
        """
        level, width = 0, 1
        if self._has_more_points(first, last, points):
            level, width = _grid(last - first + 1, points)
        rollup_end, token = self._progress()
        indices = _complete_indices(first, last, level, rollup_end) if level else range(0)
        names = self._names or []
        if not level:
            return aggregated(self._points(first, last), names, width)
        if not indices:
            buckets = Buckets(width)
            self.read_into(buckets, first, last, level, rollup_end)
            return {name: BucketColumns.of(buckets.get(name)) for name in names}
        start, end = Buckets(width), Buckets(width)
        self._read_ends(start, end, (first, last), indices, level, rollup_end)
        rollups, gaps = self._read_columns(indices, level, token)
        none = BucketColumns()
        return {
            name: joined(
                [
                    BucketColumns.of(start.get(name)),
                    rollups.get(name, none),
                    gaps[name],
                    BucketColumns.of(end.get(name)),
                ]
            )
            for name in names
        }

    def read_into(self, buckets: Buckets, first: int, last: int, level: int, rollup_end: int) -> None:
        """Add the values between two steps to `buckets`, from rollups of this level and of finer ones at the ends.

        Before the step `rollup_end`, every range with enough log points has a rollup.
        """
        indices = _complete_indices(first, last, level, rollup_end)
        if level == 0:
            self._add_points(buckets, self._points(first, last))
        elif not indices:
            self.read_into(buckets, first, last, level - 1, rollup_end)
        else:
            self._read_rollups(buckets, indices, level)
            self._read_ends(buckets, buckets, (first, last), indices, level, rollup_end)

    def _read_ends(
        self, start: Buckets, end: Buckets, steps: tuple[int, int], indices: range, level: int, rollup_end: int
    ) -> None:
        """Add the values between two steps that are before the rollups with these indices, and those after them."""
        first, last = steps
        size = LEVEL_SIZES[level - 1]
        if first < indices.start * size:
            self.read_into(start, first, indices.start * size - 1, level - 1, rollup_end)
        if indices.stop * size <= last:
            self.read_into(end, indices.stop * size, last, level - 1, rollup_end)

    def _progress(self) -> tuple[int, str | None]:
        """Return the step before which rollups are complete, and the token under which they may be kept."""
        row = self._connection.execute(_PROGRESS, {"run": self._run_id}).first()
        if row is None:
            return 0, None
        rollup_end, token, started_at = row
        return rollup_end, token if holds(token, started_at) else None

    def _read_columns(
        self, indices: range, level: int, token: str | None
    ) -> tuple[Mapping[str, BucketColumns], Mapping[str, BucketColumns]]:
        """Return the rollups with these indices, and buckets as wide of the log points of ranges without a rollup."""
        size = LEVEL_SIZES[level - 1]
        found = (
            self._rollups(indices, level)
            if token is None
            else KEPT.get(token, level, indices, lambda missing: [*self._rollups(missing, level)])
        )
        packed = ((names, content) for _, names, content in found)
        rollups = defaultdict(BucketColumns, unpack_columns(packed, self._wanted()))
        counted = rollups[POINTS]
        counts = {step // size: count for step, count in zip(counted.first_steps, counted.counts, strict=True)}
        return rollups, aggregated(self._points_in_gaps(indices, level, counts), self._names or [], size)

    def _read_rollups(self, buckets: Buckets, indices: range, level: int) -> None:
        """Add the rollups with these indices, and the log points of ranges without a rollup."""
        counts, wanted = {}, self._wanted()
        for index, names, content in self._rollups(indices, level):
            found = unpack_wanted(names, content, wanted)
            buckets.add_all(found)
            if (points := next((bucket for name, bucket in found if name == POINTS), None)) is not None:
                counts[index] = points.count
        self._add_points(buckets, self._points_in_gaps(indices, level, counts))

    def _points_in_gaps(self, indices: range, level: int, counts: dict[int, int]) -> Iterator[Point]:
        """Yield the log points of the ranges without a rollup; `counts` has those of each rollup there is."""
        size = LEVEL_SIZES[level - 1]
        for gap in _gaps(indices, counts):
            between = self._points(gap.start * size, gap.stop * size - 1)
            yield from (point for point in between if point[0] // size not in counts)

    def _rollups(self, indices: range, level: int) -> Iterable[Any]:
        """Return index, names and packed buckets of each rollup with one of these indices, in step order."""
        key = {"run": self._run_id, "of_level": level, "start": indices.start, "stop": indices.stop}
        return self._connection.execute(_SELECT_ROLLUPS, key, execution_options={"yield_per": BATCH_ROLLUPS})

    def _wanted(self) -> frozenset[str] | None:
        return None if self._names is None else frozenset({POINTS, *self._names})

    def _points(self, first: int, last: int) -> Iterator[Point]:
        """Yield the log points between two steps, both included, in order; they may have other values too."""
        names = self._names
        if names is not None and self._connection.dialect.name == "postgresql":  # less is sent than whole log points
            for step, *values in self._rows(_select_values(names), first, last):
                yield step, dict(zip(names, values, strict=True))
        else:
            for step, text in self._rows(_SELECT_TEXTS, first, last):
                yield step, orjson.loads(text)

    def _add_points(self, buckets: Buckets, points: Iterable[Point]) -> None:
        names = self._names
        if names is not None:
            points = ((step, {name: values.get(name) for name in names}) for step, values in points)
        buckets.add_points(points)

    def _rows(self, query: sa.Select[Any], first: int, last: int) -> Iterator[Any]:
        key = {"run": self._run_id, "first": first, "last": last}
        return iter(self._connection.execute(query, key, execution_options={"yield_per": FETCH_SIZE}))

    def _has_more_points(self, first: int, last: int, points: int) -> bool:
        key = {"run": self._run_id, "first": first, "last": last, "points": points}
        return self._connection.execute(_HAS_MORE, key).first() is not None


# Executed many times per request, so they are built only once.
_is_own = series.c.run_id == sa.bindparam("run")
_between = _is_own & (series.c.step >= sa.bindparam("first")) & (series.c.step <= sa.bindparam("last"))
_FIRST_STEP = sa.select(series.c.step).where(_between).order_by(series.c.step).limit(1)
_LAST_STEP = sa.select(series.c.step).where(_between).order_by(series.c.step.desc()).limit(1)
_HAS_MORE = _FIRST_STEP.offset(sa.bindparam("points"))
_SELECT_TEXTS = sa.select(series.c.step, sa.cast(series.c["values"], sa.Text)).where(_between).order_by(series.c.step)
_PROGRESS = (
    sa.select(series_progress.c.summarised_to, series_progress.c.rollup_token, runs.c.started_at)
    .select_from(series_progress.outerjoin(runs, runs.c.id == series_progress.c.run_id))
    .where(series_progress.c.run_id == sa.bindparam("run"))
)
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


def _select_values(names: Sequence[str]) -> sa.Select[Any]:
    """Return the query for step and these values, in which PostgreSQL parses each log point only once."""
    if not names:
        return sa.select(series.c.step).where(_between).order_by(series.c.step)
    fields = (sa.column(name, sa.Double) for name in names)
    record = sa.func.json_to_record(series.c["values"]).table_valued(*fields).render_derived(with_types=True)
    joined_records = sa.select(series.c.step, *record.c).select_from(series.join(record, sa.true()))
    return joined_records.where(_between).order_by(series.c.step)


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
