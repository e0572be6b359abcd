"""The table `runs`: one row per run, written by its trainer. Times are Unix seconds."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa

from service.run.state import RunState, derive_state, effective_stall_seconds
from service.store.database import Database
from service.store.tables import runs


@dataclass(frozen=True)
class RunRow:
    """One run as last written by its trainer.

    `config` holds the settings at the start, `live` the state of its `LiveSettings`, `facts` its `TrainerStats`; `live`
    and `facts` are None until the trainer has written them.
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
        """Return the run's state at the Unix time `now`, which may be `stalled` or `lost`."""
        stall_seconds = effective_stall_seconds(self.config, self.live)
        return derive_state(self.state, now - self.heartbeat_at, now - self.progress_at, stall_seconds)


class RunQueries:
    """Queries on the table `runs`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start(self, run_id: str, config: Mapping[str, Any], now: float) -> None:
        """Insert the run's row, or reset it to the state `starting`; `now` is Unix seconds."""
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
        """Update columns of a run: state, step, heartbeat_at, progress_at, snapshot, reason, live, facts..."""
        with self._database.change(run_id) as connection:
            connection.execute(sa.update(runs).where(runs.c.id == run_id).values(values))

    def latest(self) -> RunRow | None:
        """Return the most recently started run, or None in an empty store."""
        with self._database.transaction() as connection:
            row = connection.execute(sa.select(*_RUN_COLUMNS).order_by(runs.c.started_at.desc()).limit(1)).first()
        return None if row is None else _as_run(row)

    def get(self, run_id: str) -> RunRow | None:
        """Return one run, or None."""
        with self._database.transaction() as connection:
            row = connection.execute(sa.select(*_RUN_COLUMNS).where(runs.c.id == run_id)).first()
        return None if row is None else _as_run(row)

    def all(self) -> list[RunRow]:
        """Return all runs, most recently started first."""
        query = sa.select(*_RUN_COLUMNS).order_by(runs.c.started_at.desc())
        with self._database.transaction() as connection:
            return [_as_run(row) for row in connection.execute(query)]

    def set_write_marker(self, run_id: str, marker: str) -> None:
        """Store a marker that identifies the present transaction, for `has_write_marker`."""
        with self._database.transaction() as connection:
            connection.execute(sa.update(runs).where(runs.c.id == run_id).values(last_writing=marker))

    def has_write_marker(self, run_id: str, marker: str) -> bool:
        """Return True if the transaction with this marker was committed and is the last one with any.

        Waits for a transaction that is still being committed.
        """
        query = sa.select(runs.c.last_writing).where(runs.c.id == run_id).with_for_update()
        with self._database.transaction() as connection:
            return bool(connection.execute(query).scalar() == marker)


_RUN_COLUMNS = [runs.c[column.name] for column in fields(RunRow)]


def _as_run(row: sa.Row[Any]) -> RunRow:
    return RunRow(**{**row._asdict(), "state": RunState(row.state)})
