"""The table `runs`: one row per run, as its trainer last described it. Times are Unix seconds."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa

from service.run.state import RunState, derive_state, stall_seconds_of
from service.store.database import Database
from service.store.tables import runs


@dataclass(frozen=True)
class RunRow:
    """One run as the trainer last described it.

    `config` is what it was started with, `live` the state of its `LiveSettings`, `facts` small plain facts that nothing
    else tells, such as `has_perceptual`. The last two are None until they are known.
    """

    id: str
    config: Mapping[str, Any]
    started_at: float
    heartbeat_at: float
    progress_at: float
    step: int
    state: RunState
    reason: str | None
    snapshot: Mapping[str, Any] | None
    live: Mapping[str, Any] | None = None
    facts: Mapping[str, Any] | None = None

    def reported_state(self, now: float) -> RunState:
        """The state to show at the Unix time `now`."""
        stall_seconds = stall_seconds_of(self.config, self.live)
        return derive_state(self.state, now - self.heartbeat_at, now - self.progress_at, stall_seconds)


class RunQueries:
    """Queries on the table `runs`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start(self, run_id: str, config: Mapping[str, Any], now: float) -> None:
        """Insert the run's row, or set it back to `starting`, as of the Unix time `now`."""
        row = {
            "config": dict(config),
            "started_at": now,
            "heartbeat_at": now,
            "progress_at": now,
            "state": RunState.STARTING.value,
            "reason": None,
        }
        with self._database.change(run_id) as connection:
            if connection.execute(sa.update(runs).where(runs.c.id == run_id).values(row)).rowcount == 0:
                connection.execute(sa.insert(runs).values(id=run_id, step=0, **row))

    def update(self, run_id: str, **values: Any) -> None:
        """Write some of a run's columns: state, step, heartbeat_at, progress_at, snapshot, reason, live, facts..."""
        with self._database.change(run_id) as connection:
            connection.execute(sa.update(runs).where(runs.c.id == run_id).values(values))

    def latest(self) -> RunRow | None:
        """The run that started last, or None in an empty store."""
        with self._database.transaction() as connection:
            row = connection.execute(sa.select(*_RUN_COLUMNS).order_by(runs.c.started_at.desc()).limit(1)).first()
        return None if row is None else _as_run(row)

    def get(self, run_id: str) -> RunRow | None:
        """One run, or None."""
        with self._database.transaction() as connection:
            row = connection.execute(sa.select(*_RUN_COLUMNS).where(runs.c.id == run_id)).first()
        return None if row is None else _as_run(row)

    def all(self) -> list[RunRow]:
        """All runs, the one that started last first."""
        query = sa.select(*_RUN_COLUMNS).order_by(runs.c.started_at.desc())
        with self._database.transaction() as connection:
            return [_as_run(row) for row in connection.execute(query)]

    def note_written(self, run_id: str, mark: str) -> None:
        """Leave a mark in a transaction by which it can be known again."""
        with self._database.transaction() as connection:
            connection.execute(sa.update(runs).where(runs.c.id == run_id).values(last_writing=mark))

    def has_written(self, run_id: str, mark: str) -> bool:
        """Whether the last transaction that left a mark has left this one; waits for one that is still to be kept."""
        query = sa.select(runs.c.last_writing).where(runs.c.id == run_id).with_for_update()
        with self._database.transaction() as connection:
            return bool(connection.execute(query).scalar() == mark)


_RUN_COLUMNS = [runs.c[column.name] for column in fields(RunRow)]


def _as_run(row: sa.Row[Any]) -> RunRow:
    return RunRow(**{**row._asdict(), "state": RunState(row.state)})
