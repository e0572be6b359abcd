"""The table `runs`: one row per run, written by its trainer. Times are Unix seconds."""

import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import sqlalchemy as sa

from service.run.state import RunState, derive_state, effective_stall_seconds
from service.store.database import Database
from service.store.queries.events import append_event
from service.store.queries.heartbeats import HeartbeatObserver
from service.store.tables import runs

RunPosition = tuple[float, str]
"""Start (Unix seconds) and id of a run: lists are in descending order of both."""


class NotOwnerError(Exception):
    """The run's row is not as this trainer left it: another trainer has started the run, or the store is another."""


@dataclass(frozen=True)
class RunOwner:
    """One start of a trainer: a token that no other start has, and for people its host and process."""

    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)


@dataclass(frozen=True)
class RunOwnership:
    """Who reports a run. `token`, `host` and `pid` are None if a trainer of an earlier version started it last.

    `start_number` is one more at every start, and 0 if all were of earlier versions; `started_at` is Unix seconds.
    """

    token: str | None
    host: str | None
    pid: int | None
    start_number: int
    started_at: float


@dataclass(frozen=True)
class RunRow:
    """One run as last written by its trainer.

    `config` holds the settings at the start, `live` the state of its `LiveSettings`, `facts` its `TrainerStats`; `live`
    and `facts` are None until the trainer has written them. `start_number` is None if an earlier version started it.
    `name` and `note` are what people call the run and wrote down about it.
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
    start_number: int | None = None
    name: str | None = None
    note: str | None = None

    @property
    def position(self) -> RunPosition:
        """Position of the run in lists."""
        return self.started_at, self.id

    def reported_state(self, now: float) -> RunState:
        """Return the run's state at the time `now` of its trainer's clock; it may be `stalled` or `lost`."""
        stall_seconds = effective_stall_seconds(self.config, self.live)
        return derive_state(self.state, now - self.heartbeat_at, now - self.progress_at, stall_seconds)


class RunQueries:
    """Queries on the table `runs`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._heartbeats = HeartbeatObserver()

    def now(self, run: RunRow) -> float:
        """Look at a run's heartbeat; return the present time on its trainer's clock (Unix seconds).

        Ages of the run's times are judged by it, whatever this machine's clock says.
        """
        return self._heartbeats.now(run.id, run.heartbeat_at)

    def on_present_clock(self, run_id: str, moment: float) -> float:
        """Return what the run's trainer's clock would have shown at an earlier moment, if it were not set since.

        Unix seconds; only what looks at its heartbeats have shown is known.
        """
        return self._heartbeats.on_present_clock(run_id, moment)

    def start(
        self,
        run_id: str,
        config: Mapping[str, Any],
        now: float,
        owner: RunOwner | None = None,
        start_number: int | None = None,
    ) -> int:
        """Insert the run's row, or reset it to the state `starting`; `now` is Unix seconds.

        From now on `owner` reports the run, and its token is the first write marker. Returns the number of this start:
        `start_number` if it has one from another store, otherwise the next.
        """
        token, host, pid = (owner.token, owner.host, owner.pid) if owner else (None, None, None)
        row = {
            "config": dict(config),
            "started_at": now,
            "heartbeat_at": now,
            "progress_at": now,
            "state": RunState.STARTING.value,
            "reason": None,
            "last_writing": token,
            "owner": token,
            "owner_host": host,
            "owner_pid": pid,
        }
        with self._database.run_transaction(run_id) as connection:
            earlier = connection.execute(sa.select(_START_NUMBER).where(runs.c.id == run_id)).scalar()
            row["start_number"] = number = start_number or (earlier or 0) + 1
            if earlier is None:
                connection.execute(sa.insert(runs).values(id=run_id, step=0, **row))
            else:
                connection.execute(sa.update(runs).where(runs.c.id == run_id).values(row))
        return number

    def update(self, run_id: str, *, marker: str | None = None, **values: Any) -> None:
        """Update columns of a run: state, step, heartbeat_at, progress_at, snapshot, reason, live, facts...

        With `marker`, raises `NotOwnerError` and changes nothing unless that is the run's last write marker.
        """
        with self._database.change(run_id) as connection:
            _change(connection, run_id, marker, values)

    def describe(self, run_id: str, changes: Mapping[str, str | None], *, actor: str, source: str) -> RunRow | None:
        """Change the name, the note or both of a run, whether it has ended or not; return its row, None without one.

        A `described` event says who changed what, and what it was before; nothing is written if nothing differs.
        """
        query = sa.select(*_RUN_COLUMNS).where(runs.c.id == run_id)
        with self._database.run_transaction(run_id) as connection:
            row = connection.execute(query).first()
            if row is None:
                return None
            before = {name: value for name, value in row._asdict().items() if name in changes}
            if before != changes:
                connection.execute(sa.update(runs).where(runs.c.id == run_id).values(dict(changes)))
                previous = {f"previous_{name}": value for name, value in before.items()}
                details = {**changes, **previous, "actor": actor, "source": source}
                append_event(connection, run_id, None, "described", details)
            return _as_run(connection.execute(query).one())

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

    def all(self, *, heard_since: float | None = None) -> list[RunRow]:
        """Return all runs, or those with a heartbeat since a Unix time; most recently started first."""
        query = sa.select(*_RUN_COLUMNS).order_by(*_NEWEST_FIRST)
        if heard_since is not None:
            query = query.where(runs.c.heartbeat_at >= heard_since)
        with self._database.transaction() as connection:
            return [_as_run(row) for row in connection.execute(query)]

    def page(self, after: RunPosition | None, limit: int) -> list[RunRow]:
        """Return the next `limit` runs after a position, most recently started first."""
        query = sa.select(*_RUN_COLUMNS).order_by(*_NEWEST_FIRST).limit(limit)
        if after is not None:
            started_at, run_id = after
            is_older = runs.c.started_at < started_at
            query = query.where(is_older | ((runs.c.started_at == started_at) & (runs.c.id < run_id)))
        with self._database.transaction() as connection:
            return [_as_run(row) for row in connection.execute(query)]

    def ownership(self, run_id: str) -> RunOwnership | None:
        """Return who reports the run, or None if the store has no such run."""
        columns = (runs.c.owner, runs.c.owner_host, runs.c.owner_pid, _START_NUMBER, runs.c.started_at)
        with self._database.transaction() as connection:
            row = connection.execute(sa.select(*columns).where(runs.c.id == run_id)).first()
        return None if row is None else RunOwnership(*row)

    def set_write_marker(self, run_id: str, marker: str, previous: str | None = None) -> None:
        """Store a marker that identifies the present transaction, for `has_write_marker`.

        With `previous`, raises `NotOwnerError` unless that is the last marker.
        """
        with self._database.transaction() as connection:
            _change(connection, run_id, previous, {"last_writing": marker})

    def has_write_marker(self, run_id: str, marker: str) -> bool:
        """Return True if the transaction with this marker was committed and is the last one with any.

        Waits for a transaction that is still being committed.
        """
        query = sa.select(runs.c.last_writing).where(runs.c.id == run_id).with_for_update()
        with self._database.transaction() as connection:
            return bool(connection.execute(query).scalar() == marker)


_START_NUMBER = sa.func.coalesce(runs.c.start_number, 0)
_NEWEST_FIRST = (runs.c.started_at.desc(), runs.c.id.desc())
_RUN_COLUMNS = [runs.c[column.name] for column in fields(RunRow)]


def _change(connection: sa.Connection, run_id: str, marker: str | None, values: Mapping[str, Any]) -> None:
    """Update the run's row; with `marker`, only if that is its last write marker, else raise `NotOwnerError`."""
    is_wanted = runs.c.id == run_id
    if marker is not None:
        is_wanted &= runs.c.last_writing == marker
    changed = connection.execute(sa.update(runs).where(is_wanted).values(dict(values))).rowcount
    if marker is not None and changed == 0:
        raise NotOwnerError(run_id)


def _as_run(row: sa.Row[Any]) -> RunRow:
    return RunRow(**{**row._asdict(), "state": RunState(row.state)})
