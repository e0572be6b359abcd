"""The store: the database that the trainer writes and the API reads, one file in the run directory.

SQLAlchemy Core on SQLite in WAL mode: one writer never blocks readers. Every method is one short transaction; a locked
or lost database raises `StoreUnavailableError`, and callers decide what waits. Times are Unix seconds.
"""

import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, StatementError

from service.commands import Command, CommandState, Kind
from service.run_state import RunState, derive_state
from service.tables import commands, events, metadata, records, runs, series

BUSY_SECONDS = 5.0
WAIT_FOR_TRAINER_SECONDS = 60.0


class StoreUnavailableError(Exception):
    """The store cannot be used now: absent, locked too long, damaged, or the disk is full."""


@dataclass(frozen=True)
class RunRow:
    """One run as the trainer last described it."""

    id: str
    config: Mapping[str, Any]
    started_at: float
    heartbeat_at: float
    progress_at: float
    step: int
    state: RunState
    reason: str | None
    snapshot: Mapping[str, Any] | None

    def reported_state(self, now: float) -> RunState:
        """The state to show at the Unix time `now`."""
        return derive_state(self.state, now - self.heartbeat_at, now - self.progress_at)


@dataclass(frozen=True)
class SeriesRow:
    """The values of one log point or validation at one step."""

    step: int
    time: float
    values: Mapping[str, float | None]


class Store:
    """The one way to the tables; safe to use from several threads.

    Values that JSON cannot hold raise `ValueError`, everything else that goes wrong `StoreUnavailableError`.
    """

    def __init__(
        self, path: Path, *, create: bool = False, keep_open: bool = False, busy_seconds: float = BUSY_SECONDS
    ) -> None:
        """Connect to the store at `path`; with `create`, make file and tables. Raises `StoreUnavailableError`.

        `keep_open` keeps the connection between transactions (the trainer); otherwise each one opens the file that
        lies there now, also after a fresh start replaced it (the API, the command line).
        """
        self._path = path
        self._held = threading.local()
        pool = sa.pool.QueuePool if keep_open else sa.pool.NullPool
        self._engine = sa.create_engine(f"sqlite:///{path}", poolclass=pool, connect_args={"timeout": busy_seconds})
        sa.event.listen(self._engine, "connect", _configure_connection)
        if create:
            with self._transaction(create=True) as connection:
                metadata.create_all(connection)

    @contextmanager
    def _transaction(self, *, create: bool = False) -> Iterator[sa.Connection]:
        if not create and not self._path.exists():
            raise StoreUnavailableError(f"there is no store {self._path}")
        try:
            if (held := getattr(self._held, "connection", None)) is not None:
                yield held
            else:
                with self._engine.begin() as connection:
                    yield connection
        except DBAPIError as error:
            raise StoreUnavailableError(f"store {self._path}: {error.orig}") from error
        except StatementError as error:  # the values are at fault, not the store
            raise ValueError(f"not storable: {error.orig}") from error

    @contextmanager
    def together(self) -> Iterator[None]:
        """Make one transaction of everything this thread does within: all of it is kept, or nothing."""
        with self._transaction() as connection:
            self._held.connection = connection
            try:
                yield
            finally:
                self._held.connection = None

    def close(self) -> None:
        """Give back kept connections."""
        self._engine.dispose()

    def change_stamp(self) -> tuple[int, int]:
        """A value that differs after any process wrote to the store; costs one `stat`, no query."""
        try:
            status = self._path.with_name(f"{self._path.name}-wal").stat()
        except OSError:
            return (0, 0)
        return (status.st_mtime_ns, status.st_size)

    # Runs

    def open_run(self, run_id: str, config: Mapping[str, Any]) -> None:
        """Begin or continue a run.

        Commands that a crash left half done become `failed (interrupted)`; those that waited for a trainer longer than
        `WAIT_FOR_TRAINER_SECONDS` become `expired`: a `stop` of yesterday must not end today's resume.
        """
        now = time.time()
        row = {
            "config": dict(config),
            "started_at": now,
            "heartbeat_at": now,
            "progress_at": now,
            "state": RunState.STARTING.value,
            "reason": None,
        }
        interrupted = {"state": CommandState.FAILED.value, "reason": "interrupted", "finished_at": now}
        waited = f"no trainer was there to carry it out within {WAIT_FOR_TRAINER_SECONDS:g} s"
        expired = {"state": CommandState.EXPIRED.value, "reason": waited, "finished_at": now}
        with self._transaction() as connection:
            if connection.execute(sa.update(runs).where(runs.c.id == run_id).values(row)).rowcount == 0:
                connection.execute(sa.insert(runs).values(id=run_id, step=0, **row))
            running = (commands.c.run_id == run_id) & (commands.c.state == CommandState.RUNNING.value)
            connection.execute(sa.update(commands).where(running).values(interrupted))
            old = _queued(run_id) & (commands.c.created_at < now - WAIT_FOR_TRAINER_SECONDS)
            connection.execute(sa.update(commands).where(old).values(expired))

    def update_run(self, run_id: str, **values: Any) -> None:
        """Write some of a run's columns: state, step, heartbeat_at, progress_at, snapshot, reason."""
        with self._transaction() as connection:
            connection.execute(sa.update(runs).where(runs.c.id == run_id).values(values))

    def current_run(self) -> RunRow | None:
        """The run that started last, or None in an empty store."""
        with self._transaction() as connection:
            row = connection.execute(sa.select(runs).order_by(runs.c.started_at.desc()).limit(1)).first()
        return None if row is None else RunRow(**{**row._asdict(), "state": RunState(row.state)})

    # Series, records, events

    def add_series(self, run_id: str, rows: Iterable[SeriesRow]) -> None:
        """Append log points; a point of the same step is merged into the one that is there."""
        with self._transaction() as connection:
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
        with self._transaction() as connection:
            return [SeriesRow(*row) for row in connection.execute(query)]

    def add_record(self, run_id: str, step: int, record: Mapping[str, Any], sha256: str) -> None:
        """Keep a copy of a record beside its file; a later one of the same step replaces it."""
        key = (records.c.run_id == run_id) & (records.c.step == step)
        with self._transaction() as connection:
            connection.execute(sa.delete(records).where(key))
            row = {"run_id": run_id, "step": step, "time": time.time(), "record": dict(record), "sha256": sha256}
            connection.execute(sa.insert(records).values(row))

    def records(self, run_id: str) -> list[tuple[int, str, Mapping[str, Any]]]:
        """(step, sha256, record) of a run in step order."""
        query = sa.select(records.c.step, records.c.sha256, records.c.record)
        with self._transaction() as connection:
            rows = connection.execute(query.where(records.c.run_id == run_id).order_by(records.c.step))
            return [(row.step, row.sha256, row.record) for row in rows]

    def forget_after(self, run_id: str, step: int) -> None:
        """Drop series and records beyond `step`: a resume walks those steps again."""
        with self._transaction() as connection:
            for table in (series, records):
                connection.execute(sa.delete(table).where((table.c.run_id == run_id) & (table.c.step > step)))

    def add_event(self, run_id: str, step: int, kind: str, details: Mapping[str, Any]) -> None:
        """Append one event of the run's history."""
        row = {"run_id": run_id, "time": time.time(), "step": step, "kind": kind, "details": dict(details)}
        with self._transaction() as connection:
            connection.execute(sa.insert(events).values(row))

    def events(self, run_id: str) -> list[dict[str, Any]]:
        """The run's history in order."""
        query = sa.select(events).where(events.c.run_id == run_id).order_by(events.c.id)
        with self._transaction() as connection:
            return [row._asdict() for row in connection.execute(query)]

    # Commands

    def submit(self, run_id: str, kind: Kind, arguments: Mapping[str, Any], *, actor: str, source: str) -> Command:
        """Queue a command durably; it is on disk when this returns."""
        command = Command(
            id=uuid.uuid4().hex,
            run_id=run_id,
            kind=kind,
            state=CommandState.QUEUED,
            actor=actor,
            source=source,
            created_at=time.time(),
            arguments=dict(arguments),
        )
        with self._transaction() as connection:
            connection.execute(sa.insert(commands).values(command.as_dict()))
        return command

    def command(self, command_id: str) -> Command | None:
        """One command, or None."""
        with self._transaction() as connection:
            row = connection.execute(sa.select(commands).where(commands.c.id == command_id)).first()
        return None if row is None else _as_command(row)

    def commands(self, run_id: str, state: CommandState | None = None, limit: int | None = None) -> list[Command]:
        """Commands of a run, oldest first; with `limit`, the newest so many."""
        query = sa.select(commands).where(commands.c.run_id == run_id)
        if state is not None:
            query = query.where(commands.c.state == state.value)
        with self._transaction() as connection:
            rows = connection.execute(query.order_by(commands.c.number.desc()).limit(limit)).all()
        return [_as_command(row) for row in reversed(rows)]

    def begin_command(self, command_id: str) -> bool:
        """Take a queued command for execution; False when somebody cancelled it before."""
        started = {"state": CommandState.RUNNING.value, "started_at": time.time()}
        return self._change(command_id, [CommandState.QUEUED], started)

    def finish_command(
        self,
        command_id: str,
        state: CommandState,
        *,
        step: int | None = None,
        result: Mapping[str, Any] | None = None,
        reason: str | None = None,
    ) -> bool:
        """Bring a command to its final state; False when it already had one."""
        ended = {
            "state": state.value,
            "finished_at": time.time(),
            "step": step,
            "result": None if result is None else dict(result),
            "reason": reason,
        }
        return self._change(command_id, [CommandState.QUEUED, CommandState.RUNNING], ended)

    def reject_queued(self, run_id: str, reason: str) -> None:
        """Reject every command that still waits, because the run has ended."""
        values = {"state": CommandState.REJECTED.value, "finished_at": time.time(), "reason": reason}
        with self._transaction() as connection:
            connection.execute(sa.update(commands).where(_queued(run_id)).values(values))

    def _change(self, command_id: str, allowed: Sequence[CommandState], values: Mapping[str, Any]) -> bool:
        states = [state.value for state in allowed]
        condition = (commands.c.id == command_id) & commands.c.state.in_(states)
        with self._transaction() as connection:
            return connection.execute(sa.update(commands).where(condition).values(dict(values))).rowcount == 1


def _queued(run_id: str) -> sa.ColumnElement[bool]:
    return (commands.c.run_id == run_id) & (commands.c.state == CommandState.QUEUED.value)


def _as_command(row: sa.Row[Any]) -> Command:
    values = row._asdict()
    del values["number"]
    return Command(**{**values, "kind": Kind(values["kind"]), "state": CommandState(values["state"])})


def _configure_connection(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    # An acknowledged command must survive a power cut; NORMAL may lose the last transactions of a WAL.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()
