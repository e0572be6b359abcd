"""What the store keeps of a run's values over its steps: the log points, and their history in short."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from service.store.database import Database
from service.store.rollups.buckets import POINTS, Bucket
from service.store.rollups.reader import AT_A_TIME, History
from service.store.rollups.writer import Summaries
from service.store.tables import series, series_progress, series_summaries

BEYOND_ALL_STEPS = 2**62


@dataclass(frozen=True)
class SeriesRow:
    """The values of one log point or validation at one step; `time` is Unix seconds."""

    step: int
    time: float
    values: Mapping[str, float | None]


class SeriesQueries:
    """Queries on `series`, `series_progress` and `series_summaries`; one process at a time writes those of a run."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, run_id: str, rows: Iterable[SeriesRow]) -> None:
        """Append log points; a point of the same step is merged into the one that is there."""
        points = []
        with self._database.transaction() as connection:
            for row in rows:
                key = {"of_run": run_id, "of_step": row.step}
                earlier = connection.execute(_EARLIER, key).scalar()
                merged = {"new_time": row.time, "new_values": {**(earlier or {}), **row.values}}
                connection.execute(_INSERT if earlier is None else _UPDATE, {**key, **merged})
                points.append((row.step, row.values))
            Summaries(connection, run_id).note(points)

    def between(self, run_id: str, first_step: int = 0, last_step: int | None = None) -> list[SeriesRow]:
        """Log points of a run in step order, both ends included."""
        last_step = BEYOND_ALL_STEPS if last_step is None else last_step
        return self._rows((series.c.run_id == run_id) & series.c.step.between(first_step, last_step), None)

    def after(self, run_id: str, after_step: int, limit: int) -> list[SeriesRow]:
        """The first `limit` log points beyond a step, in step order."""
        return self._rows((series.c.run_id == run_id) & (series.c.step > after_step), limit)

    def span(self, run_id: str) -> tuple[int, int] | None:
        """The first and the last step with a log point; None without any."""
        with self._database.transaction() as connection:
            return History(connection, run_id).span(0, BEYOND_ALL_STEPS)

    def names(self, run_id: str) -> list[str]:
        """The names of all values that were logged, sorted."""
        progress = sa.select(series_progress.c.summarised_to, series_progress.c.names)
        with self._database.read_snapshot() as connection:
            row = connection.execute(progress.where(series_progress.c.run_id == run_id)).first()
            summarised_to, names = row or (0, [])
            later = (series.c.run_id == run_id) & (series.c.step >= summarised_to)
            query = sa.select(series.c["values"]).where(later)
            values = connection.execute(query, execution_options={"yield_per": AT_A_TIME}).scalars()
            return sorted({*names, *(name for some in values for name in some)})

    def envelope(
        self, run_id: str, names: Sequence[str], first_step: int, last_step: int, points: int
    ) -> dict[str, list[Bucket]]:
        """Each value's history between two steps, both included, in at most about `points` buckets.

        The buckets lie on the same grid for all names, and one without a value is left out. They tell of nothing
        outside the two steps; where there are no more than `points` log points, each is a bucket of its own.
        """
        with self._database.read_snapshot() as connection:
            history = History(connection, run_id, names)
            span = history.span(first_step, last_step)
            if span is None:
                return {name: [] for name in names}
            found = history.buckets(*span, points)
        return {name: found.of(name) if name != POINTS else [] for name in names}

    def forget_after(self, run_id: str, step: int) -> None:
        """Delete log points beyond `step`: a resume walks those steps again."""
        with self._database.transaction() as connection:
            connection.execute(sa.delete(series).where((series.c.run_id == run_id) & (series.c.step > step)))
            Summaries(connection, run_id).forget_after(step)

    def branch_off(self, run_id: str, step: int, name: str) -> None:
        """Keep log points beyond `step` under the run id `name`, in the place of what is there under that name."""
        with self._database.transaction() as connection:
            for table in (series, series_summaries):
                connection.execute(sa.delete(table).where(table.c.run_id == name))
            beyond = (series.c.run_id == run_id) & (series.c.step > step)
            connection.execute(sa.update(series).where(beyond).values(run_id=name))
            Summaries(connection, run_id).hand_over_after(step, Summaries(connection, name))

    def _rows(self, chosen: sa.ColumnElement[bool], limit: int | None) -> list[SeriesRow]:
        query = sa.select(series.c.step, series.c.time, series.c["values"]).where(chosen).order_by(series.c.step)
        with self._database.transaction() as connection:
            return [SeriesRow(*row) for row in connection.execute(query.limit(limit))]


# Carried out for every log point, so they are built only once.
_KEY = (series.c.run_id == sa.bindparam("of_run")) & (series.c.step == sa.bindparam("of_step"))
_NEW: dict[str, Any] = {"time": sa.bindparam("new_time"), "values": sa.bindparam("new_values")}
_EARLIER = sa.select(series.c["values"]).where(_KEY)
_UPDATE = sa.update(series).where(_KEY).values(_NEW)
_INSERT = sa.insert(series).values(run_id=sa.bindparam("of_run"), step=sa.bindparam("of_step"), **_NEW)
