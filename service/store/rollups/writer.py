"""Makes the summaries that `service/store/rollups/reader.py` reads, while the log points come in.

Log points mostly come in step order. Once some have come, those beyond the last summarised step are summed up as far as
no more are expected; each level is made from the one below. Where a log point comes late, its summaries are made anew.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from service.store.rollups.buckets import POINTS, Buckets, Point, packed
from service.store.rollups.reader import FEWEST_POINTS, LEVEL_SIZES, History
from service.store.tables import series, series_progress, series_summaries

POINTS_TOGETHER = 64
"""Log points that wait for each other to be summarised."""
MOST_AT_ONCE = 1024
"""Of the log points in an earlier version's store this many are caught up on with every new one."""


class Summaries:
    """The summaries of one run, within a transaction of its only writer."""

    def __init__(self, connection: sa.Connection, run_id: str) -> None:
        self._connection = connection
        self._run_id = run_id

    def note(self, points: Sequence[Point]) -> None:
        """These log points have been written: new ones, or values beside those that were there."""
        summarised_to, is_due = self._progress()
        if late := [point for point in points if point[0] < summarised_to]:
            self._update_progress(late, summarised_to)
            self._renew([step for step, _ in late], summarised_to)
        if is_due:
            self._advance(summarised_to, MOST_AT_ONCE + len(points))

    def forget_after(self, step: int) -> None:
        """Drop what tells of steps beyond this one, because their log points are dropped."""
        self._for_all_beyond(step, sa.delete(series_summaries))
        self._set_back(step)

    def hand_over_after(self, step: int, other: "Summaries") -> None:
        """Give another run what tells of steps beyond this one, because it has been given their log points."""
        summarised_to, _ = self._progress()
        self._for_all_beyond(step, sa.update(series_summaries).values(run_id=other._run_id))
        other._start(summarised_to, {name: max(first, step + 1) for name, first in self._names().items()})
        other._renew([step + 1], summarised_to)  # summaries that told of steps up to here, too
        self._set_back(step)

    # How far it has come

    def _progress(self) -> tuple[int, bool]:
        """Before which step everything is summarised, and whether enough log points have come since."""
        row = self._connection.execute(_PROGRESS, {"run": self._run_id}).first()
        if row is None:
            self._start(0, {})
            return 0, True
        return row[0], row[1] is not None

    def _start(self, summarised_to: int, names: Mapping[str, int]) -> None:
        self._connection.execute(sa.delete(series_progress).where(self._is_mine(series_progress)))
        row = {"run_id": self._run_id, "summarised_to": summarised_to, "names": names}
        self._connection.execute(sa.insert(series_progress).values(row))

    def _set_back(self, step: int) -> None:
        """Everything is summarised only up to this step, or less, and what had no value by then has no name."""
        table, end = series_progress, (step + 1) // LEVEL_SIZES[0] * LEVEL_SIZES[0]
        names = {name: first for name, first in self._names().items() if first <= step}
        self._connection.execute(sa.update(table).where(self._is_mine(table)).values(names=names))
        beyond = self._is_mine(table) & (table.c.summarised_to > end)
        self._connection.execute(sa.update(table).where(beyond).values(summarised_to=end))

    def _update_progress(self, points: Sequence[Point], summarised_to: int) -> None:
        """Everything before this step is summarised; these points are among it, and their names become known."""
        known = self._names()
        names = dict(known)
        for step, values in points:
            for name in values:
                names[name] = min(step, names.get(name, step))
        changes: dict[str, Any] = {"summarised_to": summarised_to} | ({} if names == known else {"names": names})
        self._connection.execute(sa.update(series_progress).where(self._is_mine(series_progress)).values(changes))

    def _names(self) -> dict[str, int]:
        """The first step of each name that is known."""
        query = sa.select(series_progress.c.names).where(self._is_mine(series_progress))
        return dict(self._connection.execute(query).scalar() or {})

    # Making them

    def _advance(self, summarised_to: int, most: int) -> None:
        """Summarise what is waiting, but no more log points than `most`; the last bucket may get more, so it waits."""
        waiting = self._points_from(summarised_to, most)
        end = waiting[-1][0] // LEVEL_SIZES[0] * LEVEL_SIZES[0] if waiting else 0
        points = [point for point in waiting if point[0] < end]
        recent = deque(self._last_steps_before(summarised_to), maxlen=FEWEST_POINTS)
        for step in [*(step for step, _ in points), end]:
            for level, index in _ended(recent[-1] if recent else step, step, summarised_to):
                first = index * LEVEL_SIZES[level - 1]
                if len(recent) == FEWEST_POINTS and recent[0] >= first:
                    self._make(level, index, _within(points, first, step) if first >= summarised_to else None)
            recent.append(step)
        if points:
            self._update_progress(points, end)

    def _renew(self, steps: Sequence[int], summarised_to: int) -> None:
        """Make those summaries anew that tell of these steps."""
        for level, size in enumerate(LEVEL_SIZES, 1):
            for index in {step // size for step in steps}:
                if (index + 1) * size <= summarised_to:
                    table = series_summaries.c
                    chosen = self._is_mine(series_summaries) & (table.level == level) & (table.bucket == index)
                    self._connection.execute(sa.delete(series_summaries).where(chosen))
                    self._make(level, index, None)

    def _make(self, level: int, index: int, points: Sequence[Point] | None) -> None:
        """Write one summary: of its log points, where they are at hand, else of what the store has.

        More than a few points have been summed up by the level below.
        """
        found = Buckets()
        if points is not None and len(points) <= 2 * FEWEST_POINTS:
            found.add_points(points)
        else:
            first, last = index * LEVEL_SIZES[level - 1], (index + 1) * LEVEL_SIZES[level - 1] - 1
            History(self._connection, self._run_id).add_to(found, first, last, level - 1, last + 1)
        if found.count(POINTS) >= FEWEST_POINTS:
            names, buckets = zip(*found, strict=True)
            values = {"names": names, "stretches": packed(buckets)}
            self._connection.execute(_INSERT, {"run_id": self._run_id, "level": level, "bucket": index, **values})

    def _points_from(self, step: int, most: int) -> list[Point]:
        chosen = self._is_mine(series) & (series.c.step >= step)
        query = sa.select(series.c.step, series.c["values"]).where(chosen).order_by(series.c.step).limit(most)
        return [(row[0], row[1]) for row in self._connection.execute(query)]

    def _last_steps_before(self, step: int) -> list[int]:
        chosen = self._is_mine(series) & (series.c.step < step)
        query = sa.select(series.c.step).where(chosen).order_by(series.c.step.desc()).limit(FEWEST_POINTS)
        return [*reversed(self._connection.execute(query).scalars().all())]

    def _for_all_beyond(self, step: int, statement: Any) -> None:
        """Carry out a statement on the summaries that tell of steps beyond this one."""
        table = series_summaries.c
        which = (table.level == sa.bindparam("of_level")) & (table.bucket >= sa.bindparam("from_bucket"))
        levels = [{"of_level": level, "from_bucket": (step + 1) // size} for level, size in enumerate(LEVEL_SIZES, 1)]
        self._connection.execute(statement.where(self._is_mine(series_summaries) & which), levels)

    def _is_mine(self, table: sa.Table) -> sa.ColumnElement[bool]:
        return table.c.run_id == self._run_id


# Used so often that they are built only once.
_INSERT = sa.insert(series_summaries)
_since = (series.c.run_id == series_progress.c.run_id) & (series.c.step >= series_progress.c.summarised_to)
_last_of_enough = sa.select(series.c.step).where(_since).order_by(series.c.step).limit(1).offset(POINTS_TOGETHER)
_PROGRESS = sa.select(series_progress.c.summarised_to, _last_of_enough.scalar_subquery()).where(
    series_progress.c.run_id == sa.bindparam("run")
)


def _within(points: Sequence[Point], first: int, end: int) -> Sequence[Point]:
    """Those of the points, which are in step order, from step `first` to before `end`."""
    return points[bisect_left(points, first, key=_step_of) : bisect_left(points, end, key=_step_of)]


def _step_of(point: Point) -> int:
    return point[0]


def _ended(before: int, step: int, summarised_to: int) -> Iterator[tuple[int, int]]:
    """The level and number of the summaries that hold the step `before` and, as now `step` comes, nothing more.

    Those that had ended before `summarised_to` are left out.
    """
    for level, size in enumerate(LEVEL_SIZES, 1):
        index = before // size
        end = (index + 1) * size
        if end > step:
            return
        if end > summarised_to:
            yield level, index
