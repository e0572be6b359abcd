"""What the store keeps of a run: its row, its series, its records and its events. Times are Unix seconds."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from service.database import Database
from service.run_state import RunState, derive_state
from service.tables import events, records, runs, series


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
        return derive_state(self.state, now - self.heartbeat_at, now - self.progress_at)


@dataclass(frozen=True)
class SeriesRow:
    """The values of one log point or validation at one step."""

    step: int
    time: float
    values: Mapping[str, float | None]


class RunStore(Database):
    """The tables `runs`, `series`, `records` and `events`."""

    def _start_run(self, run_id: str, config: Mapping[str, Any], now: float) -> None:
        row = {
            "config": dict(config),
            "started_at": now,
            "heartbeat_at": now,
            "progress_at": now,
            "state": RunState.STARTING.value,
            "reason": None,
        }
        with self.transaction() as connection:
            if connection.execute(sa.update(runs).where(runs.c.id == run_id).values(row)).rowcount == 0:
                connection.execute(sa.insert(runs).values(id=run_id, step=0, **row))

    def update_run(self, run_id: str, **values: Any) -> None:
        """Write some of a run's columns: state, step, heartbeat_at, progress_at, snapshot, reason, live, facts..."""
        with self.transaction() as connection:
            connection.execute(sa.update(runs).where(runs.c.id == run_id).values(values))

    def current_run(self) -> RunRow | None:
        """The run that started last, or None in an empty store."""
        with self.transaction() as connection:
            row = connection.execute(sa.select(runs).order_by(runs.c.started_at.desc()).limit(1)).first()
        return None if row is None else RunRow(**{**row._asdict(), "state": RunState(row.state)})

    # Series, records, events

    def add_series(self, run_id: str, rows: Iterable[SeriesRow]) -> None:
        """Append log points; a point of the same step is merged into the one that is there."""
        with self.transaction() as connection:
            for row in rows:
                key = (series.c.run_id == run_id) & (series.c.step == row.step)
                earlier = connection.execute(sa.select(series.c["values"]).where(key)).scalar()
                merged = {"time": row.time, "values": {**(earlier or {}), **row.values}}
                if earlier is None:
                    connection.execute(sa.insert(series).values(run_id=run_id, step=row.step, **merged))
                else:
                    connection.execute(sa.update(series).where(key).values(merged))

    def series(self, run_id: str, first_step: int = 0, last_step: int | None = None) -> list[SeriesRow]:
        """Log points of a run in step order, both ends included."""
        chosen = (series.c.run_id == run_id) & (series.c.step >= first_step)
        if last_step is not None:
            chosen &= series.c.step <= last_step
        query = sa.select(series.c.step, series.c.time, series.c["values"]).where(chosen).order_by(series.c.step)
        with self.transaction() as connection:
            return [SeriesRow(*row) for row in connection.execute(query)]

    def add_record(self, run_id: str, step: int, record: Mapping[str, Any], sha256: str) -> None:
        """Keep a copy of a record beside its file; a later one of the same step replaces it."""
        key = (records.c.run_id == run_id) & (records.c.step == step)
        with self.transaction() as connection:
            connection.execute(sa.delete(records).where(key))
            row = {"run_id": run_id, "step": step, "time": time.time(), "record": dict(record), "sha256": sha256}
            connection.execute(sa.insert(records).values(row))

    def records(self, run_id: str) -> list[tuple[int, str, Mapping[str, Any]]]:
        """(step, sha256, record) of a run in step order."""
        query = sa.select(records.c.step, records.c.sha256, records.c.record)
        with self.transaction() as connection:
            rows = connection.execute(query.where(records.c.run_id == run_id).order_by(records.c.step))
            return [(row.step, row.sha256, row.record) for row in rows]

    def forget_after(self, run_id: str, step: int) -> None:
        """Drop series and records beyond `step`: a resume walks those steps again."""
        with self.transaction() as connection:
            for table in (series, records):
                connection.execute(sa.delete(table).where((table.c.run_id == run_id) & (table.c.step > step)))

    def branch_off(self, run_id: str, step: int, name: str) -> None:
        """Keep series and records beyond `step` under the run id `name`: the run goes on from there another way."""
        with self.transaction() as connection:
            for table in (series, records):
                beyond = (table.c.run_id == run_id) & (table.c.step > step)
                connection.execute(sa.update(table).where(beyond).values(run_id=name))

    def add_event(self, run_id: str, step: int, kind: str, details: Mapping[str, Any]) -> None:
        """Append one event of the run's history."""
        row = {"run_id": run_id, "time": time.time(), "step": step, "kind": kind, "details": dict(details)}
        with self.transaction() as connection:
            connection.execute(sa.insert(events).values(row))

    def events(self, run_id: str) -> list[dict[str, Any]]:
        """The run's history in order."""
        query = sa.select(events).where(events.c.run_id == run_id).order_by(events.c.id)
        with self.transaction() as connection:
            return [row._asdict() for row in connection.execute(query)]
