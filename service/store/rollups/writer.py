"""Writes the rollups that `service/store/rollups/reader.py` reads, as log points are added.

Log points usually arrive in step order. Once enough have arrived, the complete buckets among them are written; each
level is computed from the one below. If a log point arrives late, the rollups that cover its step are recomputed.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from service.store.rollups.buckets import POINTS, Buckets, Point, pack
from service.store.rollups.kept import new_token
from service.store.rollups.reader import LEVEL_SIZES, MIN_POINTS, RollupReader
from service.store.tables import runs, series, series_progress, series_summaries, upsert

BATCH_POINTS = 64
"""Number of new log points after which rollups are written."""
ROLLUP_VERSION = 1
"""Written beside rollups that only transactions with the run's lock have changed."""
MAX_BACKLOG_POINTS = 1024
"""Number of old log points that each call of `add` processes in a store of an earlier version without rollups."""


class RollupWriter:
    """Writes the rollups of one run, inside a transaction that holds the run's lock.

    Rollups are derived, so one that is there already is replaced and never stands in the way of a log point.
    """

    def __init__(self, connection: sa.Connection, run_id: str) -> None:
        self._connection = connection
        self._run_id = run_id

    def add(self, points: Sequence[Point]) -> None:
        """Update the rollups after these log points were added or got further values."""
        rollup_end, is_due = self._progress()
        if late := [point for point in points if point[0] < rollup_end]:
            self._update_progress(late, rollup_end)
            self._rewrite([step for step, _ in late], rollup_end)
            self.renew_token()
        if is_due:
            self._advance(rollup_end, MAX_BACKLOG_POINTS + len(points))

    def rebuild(self, limit: int) -> None:
        """Delete all rollups of the run and make those of the first `limit` log points; `add` makes the others."""
        self._connection.execute(sa.delete(series_summaries).where(self._is_own(series_summaries)))
        self._insert_progress(0, {})
        self._advance(0, limit)

    def move_after(self, step: int, other: "RollupWriter") -> None:
        """Move the rollups of steps after this one to another run, because their log points were moved there."""
        rollup_end, _ = self._progress()
        self._execute_after(step, sa.update(series_summaries).values(run_id=other._run_id))
        other._insert_progress(rollup_end, {name: max(first, step + 1) for name, first in self._names().items()})
        other._rewrite([step + 1], rollup_end)  # the rollups that also covered earlier steps
        self._rewind_progress(step)

    def renew_token(self) -> None:
        """Let no rollup that was read before count any more."""
        renewed = sa.update(series_progress).where(self._is_own(series_progress))
        self._connection.execute(renewed.values(rollup_token=self._new_token()))

    # Progress

    def _new_token(self) -> str:
        started_at = self._connection.execute(sa.select(runs.c.started_at).where(runs.c.id == self._run_id)).scalar()
        return new_token(started_at)

    def _progress(self) -> tuple[int, bool]:
        """Return the step before which rollups are complete, and True if enough log points have been added since."""
        row = self._connection.execute(_PROGRESS, {"run": self._run_id}).first()
        if row is None:
            self._insert_progress(0, {})
            return 0, True
        return row[0], row[1] is not None

    def _insert_progress(self, rollup_end: int, names: Mapping[str, int]) -> None:
        row = {"run_id": self._run_id, "summarised_to": rollup_end, "names": names, "rollup_version": ROLLUP_VERSION}
        row["rollup_token"] = self._new_token()
        self._connection.execute(upsert(series_progress, self._connection.dialect.name), row)

    def _rewind_progress(self, step: int) -> None:
        """Set the progress back to `step` at most, and remove the names of values that were first logged later."""
        table, end = series_progress, (step + 1) // LEVEL_SIZES[0] * LEVEL_SIZES[0]
        names = {name: first for name, first in self._names().items() if first <= step}
        changes = {"names": names, "rollup_token": self._new_token()}
        self._connection.execute(sa.update(table).where(self._is_own(table)).values(changes))
        is_later = self._is_own(table) & (table.c.summarised_to > end)
        self._connection.execute(sa.update(table).where(is_later).values(summarised_to=end))

    def _update_progress(self, points: Sequence[Point], rollup_end: int) -> None:
        """Set the step before which rollups are complete, and add the names of the values in these points."""
        known = self._names()
        names = dict(known)
        for step, values in points:
            for name in values:
                names[name] = min(step, names.get(name, step))
        changes: dict[str, Any] = {"summarised_to": rollup_end} | ({} if names == known else {"names": names})
        self._connection.execute(sa.update(series_progress).where(self._is_own(series_progress)).values(changes))

    def _names(self) -> dict[str, int]:
        """Return the first step of each known value, by name."""
        query = sa.select(series_progress.c.names).where(self._is_own(series_progress))
        return dict(self._connection.execute(query).scalar() or {})

    # Rollups

    def _advance(self, rollup_end: int, limit: int) -> None:
        """Write the complete buckets of the next `limit` log points; the last bucket may still get log points."""
        pending = self._points_from(rollup_end, limit)
        end = pending[-1][0] // LEVEL_SIZES[0] * LEVEL_SIZES[0] if pending else 0
        points = [point for point in pending if point[0] < end]
        recent = deque(self._last_steps_before(rollup_end), maxlen=MIN_POINTS)
        for step in [*(step for step, _ in points), end]:
            for level, index in _completed(recent[-1] if recent else step, step, rollup_end):
                first = index * LEVEL_SIZES[level - 1]
                if len(recent) == MIN_POINTS and recent[0] >= first:
                    self._write(level, index, _between(points, first, step) if first >= rollup_end else None)
            recent.append(step)
        if points:
            self._update_progress(points, end)

    def _rewrite(self, steps: Sequence[int], rollup_end: int) -> None:
        """Recompute the rollups that cover these steps."""
        for level, size in enumerate(LEVEL_SIZES, 1):
            for index in {step // size for step in steps}:
                if (index + 1) * size <= rollup_end:
                    table = series_summaries.c
                    is_stale = self._is_own(series_summaries) & (table.level == level) & (table.bucket == index)
                    self._connection.execute(sa.delete(series_summaries).where(is_stale))
                    self._write(level, index, None)

    def _write(self, level: int, index: int, points: Sequence[Point] | None) -> None:
        """Write one rollup from its log points if they are given and few, else from the store.

        Many log points have already been aggregated by the level below, which is faster to read.
        """
        buckets = Buckets()
        if points is not None and len(points) <= 2 * MIN_POINTS:
            buckets.add_points(points)
        else:
            first, last = index * LEVEL_SIZES[level - 1], (index + 1) * LEVEL_SIZES[level - 1] - 1
            RollupReader(self._connection, self._run_id).read_into(buckets, first, last, level - 1, last + 1)
        if buckets.count(POINTS) >= MIN_POINTS:
            names, contents = zip(*buckets, strict=True)
            values = {"names": names, "stretches": pack(contents)}
            key = {"run_id": self._run_id, "level": level, "bucket": index}
            self._connection.execute(upsert(series_summaries, self._connection.dialect.name), {**key, **values})

    def _points_from(self, step: int, limit: int) -> list[Point]:
        condition = self._is_own(series) & (series.c.step >= step)
        query = sa.select(series.c.step, series.c["values"]).where(condition).order_by(series.c.step).limit(limit)
        return [(row[0], row[1]) for row in self._connection.execute(query)]

    def _last_steps_before(self, step: int) -> list[int]:
        condition = self._is_own(series) & (series.c.step < step)
        query = sa.select(series.c.step).where(condition).order_by(series.c.step.desc()).limit(MIN_POINTS)
        return [*reversed(self._connection.execute(query).scalars().all())]

    def _execute_after(self, step: int, statement: Any) -> None:
        """Execute a statement on the rollups that cover steps after this one."""
        table = series_summaries.c
        condition = (table.level == sa.bindparam("of_level")) & (table.bucket >= sa.bindparam("from_bucket"))
        levels = [{"of_level": level, "from_bucket": (step + 1) // size} for level, size in enumerate(LEVEL_SIZES, 1)]
        self._connection.execute(statement.where(self._is_own(series_summaries) & condition), levels)

    def _is_own(self, table: sa.Table) -> sa.ColumnElement[bool]:
        return table.c.run_id == self._run_id


# Executed for every log point, so it is built only once.
_since = (series.c.run_id == series_progress.c.run_id) & (series.c.step >= series_progress.c.summarised_to)
_last_of_batch = sa.select(series.c.step).where(_since).order_by(series.c.step).limit(1).offset(BATCH_POINTS)
_PROGRESS = sa.select(series_progress.c.summarised_to, _last_of_batch.scalar_subquery()).where(
    series_progress.c.run_id == sa.bindparam("run")
)


def _between(points: Sequence[Point], first: int, end: int) -> Sequence[Point]:
    """Return the points from step `first` to before `end`; `points` must be in step order."""
    return points[bisect_left(points, first, key=_step_of) : bisect_left(points, end, key=_step_of)]


def _step_of(point: Point) -> int:
    return point[0]


def _completed(previous: int, step: int, rollup_end: int) -> Iterator[tuple[int, int]]:
    """Yield level and index of the buckets with the step `previous` that are complete because `step` follows it.

    Buckets that end at or before `rollup_end` are left out.
    """
    for level, size in enumerate(LEVEL_SIZES, 1):
        index = previous // size
        end = (index + 1) * size
        if end > step:
            return
        if end > rollup_end:
            yield level, index
