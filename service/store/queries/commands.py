"""The table `commands`: every command that was accepted, with its outcome. Rows are never deleted.

Every change of a command also appends an event, in the same transaction.
"""

import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from service.commands import Command, CommandState, Kind
from service.store.database import Database
from service.store.queries.command_delays import CommandDelays, command_delays
from service.store.queries.events import append_event
from service.store.tables import StorableText, commands, runs

WAIT_FOR_TRAINER_SECONDS = 60.0
"""How long a command waits for a trainer to start, unless it has an `apply_at_step` or `expires_at`."""

_IS_ANY_IN_STATE = sa.select(
    sa.exists().where(commands.c.run_id == sa.bindparam("run"), commands.c.state == sa.bindparam("state"))
)
"""Made once, since to build a query costs more than to run this one, which the trainer does several times a second."""


class CommandQueries:
    """Queries on the table `commands`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def submit(
        self,
        run_id: str,
        kind: Kind,
        arguments: Mapping[str, Any],
        *,
        actor: str,
        source: str,
        apply_at_step: int | None = None,
        expires_at: float | None = None,
        idempotency_key: str | None = None,
        fingerprint: str | None = None,
        why: str | None = None,
    ) -> Command:
        """Queue a command durably and return it; it is on disk when this method returns. `why` is a person's reason.

        It will be executed at the end of step `apply_at_step`, and not started after `expires_at` (Unix seconds). If
        the run already has a command with this `idempotency_key`, that command is returned and nothing changes; the
        caller compares its `fingerprint`. Raises `StoreUnavailableError`.
        """
        command = Command(
            id=uuid.uuid4().hex,
            run_id=run_id,
            kind=kind,
            state=CommandState.QUEUED,
            actor=actor,
            source=source,
            created_at=time.time(),
            arguments=dict(arguments),
            apply_at_step=apply_at_step,
            expires_at=expires_at,
            idempotency_key=idempotency_key,
            fingerprint=fingerprint,
            why=why,
        )
        with self._database.run_transaction(run_id) as connection:
            if idempotency_key is not None and (earlier := _find_by_key(connection, run_id, idempotency_key)):
                return earlier
            _insert(connection, command)
        return command

    def add(self, command: Command) -> None:
        """Add a command as it stands, such as one that begins without waiting. Raises `StoreUnavailableError`."""
        with self._database.run_transaction(command.run_id) as connection:
            _insert(connection, command)

    def get(self, command_id: str) -> Command | None:
        """Return one command, or None."""
        with self._database.transaction() as connection:
            row = connection.execute(sa.select(commands).where(commands.c.id == command_id)).first()
        return None if row is None else _as_command(row)

    def get_by_key(self, run_id: str, key: str) -> Command | None:
        """Return the run's command with this idempotency key, or None."""
        with self._database.transaction() as connection:
            return _find_by_key(connection, run_id, key)

    def has_any(self, run_id: str, state: CommandState) -> bool:
        """Return whether a run has a command in this state."""
        with self._database.transaction() as connection:
            return bool(connection.execute(_IS_ANY_IN_STATE, {"run": run_id, "state": state.value}).scalar())

    def find(self, run_id: str, state: CommandState | None = None, limit: int | None = None) -> list[Command]:
        """Return the commands of a run, oldest first; with `limit`, only the newest ones."""
        query = sa.select(commands).where(commands.c.run_id == run_id)
        if state is not None:
            query = query.where(commands.c.state == state.value)
        with self._database.transaction() as connection:
            rows = connection.execute(query.order_by(commands.c.number.desc()).limit(limit)).all()
        return [_as_command(row) for row in reversed(rows)]

    def page(
        self,
        run_id: str,
        *,
        kind: Kind | None = None,
        state: CommandState | None = None,
        actor: str | None = None,
        before: int | None = None,
        limit: int,
    ) -> tuple[list[Command], int | None]:
        """Return the newest `limit` matching commands, newest first, and the `before` of the next page or None.

        `actor` is a name as shown in commands, with or without the address that follows it.
        """
        query = sa.select(commands).where(commands.c.run_id == run_id)
        for column, value in ((commands.c.kind, kind), (commands.c.state, state)):
            query = query if value is None else query.where(column == str(value))
        if actor is not None:
            query = query.where(_has_actor(actor))
        if before is not None:
            query = query.where(commands.c.number < before)
        with self._database.transaction() as connection:
            rows = connection.execute(query.order_by(commands.c.number.desc()).limit(limit + 1)).all()
        page = rows[:limit]
        return [_as_command(row) for row in page], page[-1].number if len(rows) > limit else None

    def counts(self, run_id: str) -> dict[tuple[Kind, CommandState], int]:
        """Return the number of the run's commands by kind and state; zero counts are left out."""
        columns = (commands.c.kind, commands.c.state)
        query = sa.select(*columns, sa.func.count()).where(commands.c.run_id == run_id).group_by(*columns)
        with self._database.transaction() as connection:
            return {(Kind(kind), CommandState(state)): count for kind, state, count in connection.execute(query)}

    def delays(self, run_id: str) -> CommandDelays:
        """Return the delays of all commands that have started, except those with an `apply_at_step`.

        Raises `StoreUnavailableError`.
        """
        with self._database.transaction() as connection:
            return command_delays(connection, run_id)

    def begin(self, command_id: str, owner: str | None = None) -> bool:
        """Set a queued command to `running`; returns False if it was cancelled before or has expired, and, with
        `owner`, if that is not the token of the trainer that reports the run.
        """
        now = time.time()
        started = {"state": CommandState.RUNNING.value, "started_at": now}
        may_begin = commands.c.expires_at.is_(None) | (commands.c.expires_at > now)
        if owner is not None:
            may_begin &= sa.exists().where((runs.c.id == commands.c.run_id) & (runs.c.owner == owner))
        return self._change(command_id, [CommandState.QUEUED], started, may_begin)

    def put_back(self, command_id: str) -> bool:
        """Set a running command to `queued` again, because it was not executed and the trainer starts anew.

        Returns False if it is not running.
        """
        waiting = {"state": CommandState.QUEUED.value, "started_at": None}
        return self._change(command_id, [CommandState.RUNNING], waiting)

    def cancel(self, command_id: str, reason: str) -> bool:
        """Cancel a queued command; returns False if it has started or ended."""
        cancelled = {"state": CommandState.CANCELLED.value, "finished_at": time.time(), "reason": reason}
        return self._change(command_id, [CommandState.QUEUED], cancelled)

    def expire(self, run_id: str, now: float) -> int:
        """Expire the queued commands whose `expires_at` is at or before `now` (Unix seconds); returns their number."""
        is_expired = _has_state(CommandState.QUEUED) & (commands.c.expires_at <= now)
        return self._end(run_id, is_expired, CommandState.EXPIRED, "its time ran out before it could begin", now)

    def finish(
        self,
        command_id: str,
        state: CommandState,
        *,
        step: int | None = None,
        result: Mapping[str, Any] | None = None,
        reason: str | None = None,
    ) -> bool:
        """Set a command's final state and outcome; returns False if it already had a final state."""
        ended = {
            "state": state.value,
            "finished_at": time.time(),
            "step": step,
            "result": None if result is None else dict(result),
            "reason": reason,
        }
        return self._change(command_id, [CommandState.QUEUED, CommandState.RUNNING], ended)

    def fail_running(self, run_id: str, reason: str) -> None:
        """Set every running command to `failed`, because the run has ended without an outcome of it."""
        self._end(run_id, _has_state(CommandState.RUNNING), CommandState.FAILED, reason, time.time())

    def reject_queued(self, run_id: str, reason: str) -> None:
        """Set every queued command to `rejected`, because the run has ended."""
        self._end(run_id, _has_state(CommandState.QUEUED), CommandState.REJECTED, reason, time.time())

    def recover(self, run_id: str, now: float) -> None:
        """End the commands that an earlier trainer left: running ones become `failed`, too old ones `expired`.

        `now` is Unix seconds.
        """
        self._end(run_id, _has_state(CommandState.RUNNING), CommandState.FAILED, "interrupted", now)
        self.expire(run_id, now)
        unconditional = commands.c.apply_at_step.is_(None) & commands.c.expires_at.is_(None)
        is_waiting = _has_state(CommandState.QUEUED) & unconditional
        is_old = is_waiting & (commands.c.created_at < now - WAIT_FOR_TRAINER_SECONDS)
        reason = f"no trainer was there to carry it out within {WAIT_FOR_TRAINER_SECONDS:g} s"
        self._end(run_id, is_old, CommandState.EXPIRED, reason, now)

    def _end(self, run_id: str, condition: sa.ColumnElement[bool], state: CommandState, reason: str, now: float) -> int:
        values = {"state": state.value, "finished_at": now, "reason": reason}
        with self._database.run_transaction(run_id) as connection:
            return _update(connection, (commands.c.run_id == run_id) & condition, values)

    def _change(
        self,
        command_id: str,
        allowed: Sequence[CommandState],
        values: Mapping[str, Any],
        condition: sa.ColumnElement[bool] | None = None,
    ) -> bool:
        is_changeable = (commands.c.id == command_id) & commands.c.state.in_([state.value for state in allowed])
        if condition is not None:
            is_changeable &= condition
        with self._database.transaction_scope(), self._database.transaction() as connection:
            run_id = connection.execute(sa.select(commands.c.run_id).where(commands.c.id == command_id)).scalar()
            if run_id is None:
                return False
            with self._database.run_transaction(run_id):
                return _update(connection, is_changeable, values) == 1


def _has_state(state: CommandState) -> sa.ColumnElement[bool]:
    return commands.c.state == state.value


def _has_actor(actor: str) -> sa.ColumnElement[bool]:
    """Return a condition: the actor is this name, or this name followed by `@` and an address without another `@`."""
    column = commands.c.actor
    has_prefix = sa.func.substr(column, 1, len(actor) + 1, type_=StorableText) == f"{actor}@"
    return (column == actor) | (has_prefix & sa.not_(sa.func.substr(column, len(actor) + 2).contains("@")))


def _find_by_key(connection: sa.Connection, run_id: str, key: str) -> Command | None:
    condition = (commands.c.run_id == run_id) & (commands.c.idempotency_key == key)
    row = connection.execute(sa.select(commands).where(condition)).first()
    return None if row is None else _as_command(row)


def _insert(connection: sa.Connection, command: Command) -> None:
    keys = {"idempotency_key": command.idempotency_key, "fingerprint": command.fingerprint}
    connection.execute(sa.insert(commands).values({**command.as_dict(), **keys}))
    _append_events(connection, [command])


def _update(connection: sa.Connection, condition: sa.ColumnElement[bool], values: Mapping[str, Any]) -> int:
    """Update the matching commands and append an event for each, in order of acceptance; returns their number."""
    update = sa.update(commands).where(condition).values(dict(values)).returning(*commands.c)
    rows = sorted(connection.execute(update).all(), key=lambda row: row.number)
    _append_events(connection, map(_as_command, rows))
    return len(rows)


def _append_events(connection: sa.Connection, changed: Iterable[Command]) -> None:
    """Append one event per command with its present state, at the command's final step or else the run's step."""
    for command in changed:
        append_event(connection, command.run_id, command.step, "command", command.as_dict())


def _as_command(row: sa.Row[Any]) -> Command:
    values = row._asdict()
    del values["number"]
    return Command(**{**values, "kind": Kind(values["kind"]), "state": CommandState(values["state"])})
