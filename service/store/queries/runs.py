"""What the store keeps of a run: its row and its records. Times are Unix seconds."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa

from service.run.record import record_name
from service.run.state import RunState, derive_state, stall_seconds_of
from service.store.queries.events import Journal, append_event
from service.store.tables import records, runs


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


@dataclass(frozen=True)
class RecordRow:
    """The copy of a record that the store keeps: `sha256` is of the bytes of its file."""

    step: int
    time: float
    sha256: str
    record: Mapping[str, Any]


RECORD_HEADLINES = ("trigger", "quality_ki_value", "quality_lr_value", "psnr_ki_db", "validation_loss_value")
"""What the journal tells of a record."""


class RunStore(Journal):
    """The tables `runs` and `records`."""

    def _start_run(self, run_id: str, config: Mapping[str, Any], now: float) -> None:
        row = {
            "config": dict(config),
            "started_at": now,
            "heartbeat_at": now,
            "progress_at": now,
            "state": RunState.STARTING.value,
            "reason": None,
        }
        with self.change(run_id) as connection:
            if connection.execute(sa.update(runs).where(runs.c.id == run_id).values(row)).rowcount == 0:
                connection.execute(sa.insert(runs).values(id=run_id, step=0, **row))

    def update_run(self, run_id: str, **values: Any) -> None:
        """Write some of a run's columns: state, step, heartbeat_at, progress_at, snapshot, reason, live, facts..."""
        with self.change(run_id) as connection:
            connection.execute(sa.update(runs).where(runs.c.id == run_id).values(values))

    def current_run(self) -> RunRow | None:
        """The run that started last, or None in an empty store."""
        with self.transaction() as connection:
            row = connection.execute(sa.select(*_RUN_COLUMNS).order_by(runs.c.started_at.desc()).limit(1)).first()
        return None if row is None else _as_run(row)

    def run(self, run_id: str) -> RunRow | None:
        """One run, or None."""
        with self.transaction() as connection:
            row = connection.execute(sa.select(*_RUN_COLUMNS).where(runs.c.id == run_id)).first()
        return None if row is None else _as_run(row)

    def runs(self) -> list[RunRow]:
        """All runs, the one that started last first."""
        query = sa.select(*_RUN_COLUMNS).order_by(runs.c.started_at.desc())
        with self.transaction() as connection:
            return [_as_run(row) for row in connection.execute(query)]

    def note_written(self, run_id: str, mark: str) -> None:
        """Leave a mark in a transaction by which it can be known again."""
        with self.transaction() as connection:
            connection.execute(sa.update(runs).where(runs.c.id == run_id).values(last_writing=mark))

    def has_written(self, run_id: str, mark: str) -> bool:
        """Whether the last transaction that left a mark has left this one; waits for one that is still to be kept."""
        query = sa.select(runs.c.last_writing).where(runs.c.id == run_id).with_for_update()
        with self.transaction() as connection:
            return bool(connection.execute(query).scalar() == mark)

    # Records

    def add_record(self, run_id: str, step: int, record: Mapping[str, Any], sha256: str) -> None:
        """Keep a copy of a record beside its file, and tell of it; a later one of the same step replaces it."""
        row = {"run_id": run_id, "step": step, "time": time.time(), "record": dict(record), "sha256": sha256}
        headlines = {name: record.get(name) for name in RECORD_HEADLINES}
        details = {"step": step, "name": record_name(step), "sha256": sha256, **headlines}
        with self.run_transaction(run_id) as connection:
            connection.execute(sa.delete(records).where((records.c.run_id == run_id) & (records.c.step == step)))
            connection.execute(sa.insert(records).values(row))
            append_event(connection, run_id, step, "record", details)

    def record_rows(self, run_id: str, *, after_step: int = -1, limit: int) -> list[RecordRow]:
        """The first `limit` records beyond `after_step`, in step order."""
        chosen = (records.c.run_id == run_id) & (records.c.step > after_step)
        query = sa.select(*_RECORD_COLUMNS).where(chosen).order_by(records.c.step).limit(limit)
        with self.transaction() as connection:
            return [RecordRow(*row) for row in connection.execute(query)]

    def record(self, run_id: str, step: int) -> RecordRow | None:
        """The record of one step, or None."""
        chosen = (records.c.run_id == run_id) & (records.c.step == step)
        return self._one_record(sa.select(*_RECORD_COLUMNS).where(chosen))

    def last_record(self, run_id: str) -> RecordRow | None:
        """The record of the highest step, or None."""
        query = sa.select(*_RECORD_COLUMNS).where(records.c.run_id == run_id)
        return self._one_record(query.order_by(records.c.step.desc()).limit(1))

    def record_count(self, run_id: str) -> int:
        """How many records there are."""
        query = sa.select(sa.func.count()).select_from(records).where(records.c.run_id == run_id)
        with self.transaction() as connection:
            return connection.execute(query).scalar_one()

    def _one_record(self, query: sa.Select[Any]) -> RecordRow | None:
        with self.transaction() as connection:
            row = connection.execute(query).first()
        return None if row is None else RecordRow(*row)


_RUN_COLUMNS = [runs.c[column.name] for column in fields(RunRow)]
_RECORD_COLUMNS = (records.c.step, records.c.time, records.c.sha256, records.c.record)


def _as_run(row: sa.Row[Any]) -> RunRow:
    return RunRow(**{**row._asdict(), "state": RunState(row.state)})
