"""The table `series`: log points, that is a run's values by step, and their rollups."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from service.store.database import Database
from service.store.rollups.buckets import POINTS
from service.store.rollups.columns import BucketColumns
from service.store.rollups.reader import FETCH_SIZE, RollupReader
from service.store.rollups.repair import repair
from service.store.rollups.writer import RollupWriter
from service.store.tables import series, series_progress

MAX_STEP = 2**62
_BRANCH = re.compile("-(?:branch|after)-[0-9]+(?:-[0-9]+)?")


@dataclass(frozen=True)
class SeriesRow:
    """The values of one log point or validation at one step; `time` is Unix seconds."""

    step: int
    time: float
    values: Mapping[str, float | None]


class SeriesQueries:
    """Queries on `series`, `series_progress` and `series_summaries`; changes hold the run's lock."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, run_id: str, rows: Iterable[SeriesRow]) -> None:
        """Add log points; a point is merged into an existing point of the same step."""
        points = []
        with self._database.run_transaction(run_id, announces=False) as connection:
            for row in rows:
                key = {"key_run": run_id, "key_step": row.step}
                existing = connection.execute(_SELECT_VALUES, key).scalar()
                merged = {"new_time": row.time, "new_values": {**(existing or {}), **row.values}}
                connection.execute(_INSERT if existing is None else _UPDATE, {**key, **merged})
                points.append((row.step, row.values))
            RollupWriter(connection, run_id).add(points)

    def add_missing(self, run_id: str, rows: Sequence[SeriesRow]) -> None:
        """Add what is not there of the newest log points of a run; what is there stays as it is."""
        if not rows:
            return
        there = {row.step: row.values for row in self.find(run_id, rows[0].step, rows[-1].step)}
        missing = [
            SeriesRow(row.step, row.time, {key: row.values[key] for key in row.values.keys() - there.get(row.step, {})})
            for row in rows
        ]
        self.add(run_id, [row for row in missing if row.values])

    def repair_rollups(self, run_id: str) -> bool:
        """Make the run's rollups anew if they miss or disagree with its log points; returns True if they did."""
        with self._database.run_transaction(run_id, announces=False) as connection:
            return repair(connection, run_id)

    def find(self, run_id: str, first_step: int = 0, last_step: int | None = None) -> list[SeriesRow]:
        """Return the log points of a run from `first_step` to `last_step`, both included, in step order."""
        last_step = MAX_STEP if last_step is None else last_step
        return self._select((series.c.run_id == run_id) & series.c.step.between(first_step, last_step), None)

    def find_after(self, run_id: str, after_step: int, limit: int) -> list[SeriesRow]:
        """Return the first `limit` log points of a run after `after_step`, in step order."""
        return self._select((series.c.run_id == run_id) & (series.c.step > after_step), limit)

    def span(self, run_id: str) -> tuple[int, int] | None:
        """Return the first and the last step with a log point, or None if there is none."""
        with self._database.transaction() as connection:
            return RollupReader(connection, run_id).span(0, MAX_STEP)

    def names(self, run_id: str) -> list[str]:
        """Return the names of all logged values of a run, sorted."""
        progress = sa.select(series_progress.c.summarised_to, series_progress.c.names)
        with self._database.read_snapshot() as connection:
            row = connection.execute(progress.where(series_progress.c.run_id == run_id)).first()
            rollup_end, names = row or (0, [])
            later = (series.c.run_id == run_id) & (series.c.step >= rollup_end)
            query = sa.select(series.c["values"]).where(later)
            points = connection.execute(query, execution_options={"yield_per": FETCH_SIZE}).scalars()
            return sorted({*names, *(name for values in points for name in values)})

    def branches(self, run_id: str) -> list[str]:
        """Return the ids under which abandoned steps of a run are kept, sorted; see `Store.move_to_branch`."""
        of_run = series_progress.c.run_id.startswith(f"{run_id}-", autoescape=True)
        with self._database.transaction() as connection:
            ids = connection.execute(sa.select(series_progress.c.run_id).where(of_run)).scalars()
            return sorted(branch for branch in ids if _BRANCH.fullmatch(branch.removeprefix(run_id)))

    def envelope(
        self, run_id: str, names: Sequence[str], first_step: int, last_step: int, points: int
    ) -> dict[str, BucketColumns]:
        """Return the history of each value between two steps, both included, as at most about `points` buckets.

        The buckets are aligned to one grid for all names and aggregate only steps in the range; empty buckets are left
        out. If there are at most `points` log points, each one is a bucket of its own.
        """
        with self._database.read_snapshot() as connection:
            reader = RollupReader(connection, run_id, names)
            span = reader.span(first_step, last_step)
            found = {} if span is None else reader.read(*span, points)
        return {name: found.get(name, BucketColumns()) if name != POINTS else BucketColumns() for name in names}

    def move_to_branch(self, run_id: str, step: int, branch_id: str) -> None:
        """Move the log points after `step` to the run id `branch_id`, which has none yet."""
        with self._database.run_transaction(run_id, announces=False) as connection:
            moved = (series.c.run_id == run_id) & (series.c.step > step)
            connection.execute(sa.update(series).where(moved).values(run_id=branch_id))
            RollupWriter(connection, run_id).move_after(step, RollupWriter(connection, branch_id))

    def _select(self, condition: sa.ColumnElement[bool], limit: int | None) -> list[SeriesRow]:
        query = sa.select(series.c.step, series.c.time, series.c["values"]).where(condition).order_by(series.c.step)
        with self._database.transaction() as connection:
            return [SeriesRow(*row) for row in connection.execute(query.limit(limit))]


# Executed for every log point, so they are built only once.
_KEY = (series.c.run_id == sa.bindparam("key_run")) & (series.c.step == sa.bindparam("key_step"))
_NEW: dict[str, Any] = {"time": sa.bindparam("new_time"), "values": sa.bindparam("new_values")}
_SELECT_VALUES = sa.select(series.c["values"]).where(_KEY)
_UPDATE = sa.update(series).where(_KEY).values(_NEW)
_INSERT = sa.insert(series).values(run_id=sa.bindparam("key_run"), step=sa.bindparam("key_step"), **_NEW)
