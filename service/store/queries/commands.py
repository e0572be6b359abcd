"""What the store keeps of commands: each is a row from before it is acknowledged until for ever.

Every change of one is told in the run's journal, in the same transaction.
"""

import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import sqlalchemy as sa

from service.commands import Command, CommandState, Kind
from service.store.database import Database
from service.store.queries.events import append_event
from service.store.tables import Text, commands

WAIT_FOR_TRAINER_SECONDS = 60.0
"""How long a command waits for a trainer that is to come, unless it says itself at which step or until when it may."""


BOUNDS_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


@dataclass(frozen=True)
class CommandDelays:
    """`counts` says how many waited no longer than each of BOUNDS_SECONDS, `count` how many there are in all."""

    counts: tuple[int, ...]
    count: int
    total_seconds: float


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
    ) -> Command:
        """Queue a command durably; it is on disk when this returns.

        It is to be carried out at the end of `apply_at_step`, and not begun after `expires_at`. If the run has a
        command of this `idempotency_key`, that one is the answer, and nothing changes: compare its `fingerprint`.
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
        )
        with self._database.run_transaction(run_id) as connection:
            if idempotency_key is not None and (earlier := _of_key(connection, run_id, idempotency_key)):
                return earlier
            keys = {"idempotency_key": idempotency_key, "fingerprint": fingerprint}
            connection.execute(sa.insert(commands).values({**command.as_dict(), **keys}))
            _tell(connection, [command])
        return command

    def get(self, command_id: str) -> Command | None:
        """One command, or None."""
        with self._database.transaction() as connection:
            row = connection.execute(sa.select(commands).where(commands.c.id == command_id)).first()
        return None if row is None else _as_command(row)

    def get_by_key(self, run_id: str, key: str) -> Command | None:
        """The run's command that was submitted under this idempotency key, or None."""
        with self._database.transaction() as connection:
            return _of_key(connection, run_id, key)

    def find(self, run_id: str, state: CommandState | None = None, limit: int | None = None) -> list[Command]:
        """Commands of a run, oldest first; with `limit`, the newest so many."""
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
        """The newest `limit` of the commands that fit, newest first, and the `before` of the next page or None.

        `actor` is a name as commands show it, with the address behind it or without.
        """
        query = sa.select(commands).where(commands.c.run_id == run_id)
        for column, value in ((commands.c.kind, kind), (commands.c.state, state)):
            query = query if value is None else query.where(column == str(value))
        if actor is not None:
            query = query.where(_is_of(actor))
        if before is not None:
            query = query.where(commands.c.number < before)
        with self._database.transaction() as connection:
            rows = connection.execute(query.order_by(commands.c.number.desc()).limit(limit + 1)).all()
        page = rows[:limit]
        return [_as_command(row) for row in page], page[-1].number if len(rows) > limit else None

    def counts(self, run_id: str) -> dict[tuple[Kind, CommandState], int]:
        """How many commands there are of each kind in each state; what there is none of is left out."""
        columns = (commands.c.kind, commands.c.state)
        query = sa.select(*columns, sa.func.count()).where(commands.c.run_id == run_id).group_by(*columns)
        with self._database.transaction() as connection:
            return {(Kind(kind), CommandState(state)): count for kind, state, count in connection.execute(query)}

    def delays(self, run_id: str) -> CommandDelays:
        """The delays of all commands that have begun, but of those that had a step to wait for.

        Raises `StoreUnavailableError`.
        """
        delay = commands.c.started_at - commands.c.created_at
        seconds = sa.case((delay > 0, delay), else_=0.0)  # a clock may have been set back in between
        size = sa.case(
            *((delay <= bound, place) for place, bound in enumerate(BOUNDS_SECONDS)), else_=len(BOUNDS_SECONDS)
        )
        has_begun = commands.c.started_at.is_not(None) & commands.c.apply_at_step.is_(None)
        query = sa.select(size, sa.func.count(), sa.func.sum(seconds)).where((commands.c.run_id == run_id) & has_begun)
        with self._database.transaction() as connection:
            rows = connection.execute(query.group_by(sa.text("1"))).all()
        sizes = {place: count for place, count, _ in rows}
        within = tuple(accumulate(sizes.get(place, 0) for place in range(len(BOUNDS_SECONDS))))
        return CommandDelays(within, sum(sizes.values()), sum(float(total) for *_, total in rows))

    def begin(self, command_id: str) -> bool:
        """Take a queued command for execution; False when somebody cancelled it before, or its time has run out."""
        now = time.time()
        started = {"state": CommandState.RUNNING.value, "started_at": now}
        may_begin = commands.c.expires_at.is_(None) | (commands.c.expires_at > now)
        return self._change(command_id, [CommandState.QUEUED], started, may_begin)

    def cancel(self, command_id: str, reason: str) -> bool:
        """Take a queued command back; False when it has begun or ended."""
        cancelled = {"state": CommandState.CANCELLED.value, "finished_at": time.time(), "reason": reason}
        return self._change(command_id, [CommandState.QUEUED], cancelled)

    def expire(self, run_id: str, now: float) -> int:
        """Let the queued commands whose time has run out at the Unix time `now` expire; returns how many."""
        over = _in_state(CommandState.QUEUED) & (commands.c.expires_at <= now)
        return self._end(run_id, over, CommandState.EXPIRED, "its time ran out before it could begin", now)

    def finish(
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

    def fail_running(self, run_id: str, reason: str) -> None:
        """Fail every command that still runs, because the run has ended without an answer to it."""
        self._end(run_id, _in_state(CommandState.RUNNING), CommandState.FAILED, reason, time.time())

    def reject_queued(self, run_id: str, reason: str) -> None:
        """Reject every command that still waits, because the run has ended."""
        self._end(run_id, _in_state(CommandState.QUEUED), CommandState.REJECTED, reason, time.time())

    def settle(self, run_id: str, now: float) -> None:
        """What a trainer that begins finds: half done becomes `failed`, too old `expired`."""
        self._end(run_id, _in_state(CommandState.RUNNING), CommandState.FAILED, "interrupted", now)
        self.expire(run_id, now)
        unconditional = commands.c.apply_at_step.is_(None) & commands.c.expires_at.is_(None)
        waits = _in_state(CommandState.QUEUED) & unconditional
        old = waits & (commands.c.created_at < now - WAIT_FOR_TRAINER_SECONDS)
        reason = f"no trainer was there to carry it out within {WAIT_FOR_TRAINER_SECONDS:g} s"
        self._end(run_id, old, CommandState.EXPIRED, reason, now)

    def _end(self, run_id: str, which: sa.ColumnElement[bool], state: CommandState, reason: str, now: float) -> int:
        values = {"state": state.value, "finished_at": now, "reason": reason}
        with self._database.run_transaction(run_id) as connection:
            return _update(connection, (commands.c.run_id == run_id) & which, values)

    def _change(
        self,
        command_id: str,
        allowed: Sequence[CommandState],
        values: Mapping[str, Any],
        condition: sa.ColumnElement[bool] | None = None,
    ) -> bool:
        chosen = (commands.c.id == command_id) & commands.c.state.in_([state.value for state in allowed])
        if condition is not None:
            chosen &= condition
        with self._database.transaction_scope(), self._database.transaction() as connection:
            run_id = connection.execute(sa.select(commands.c.run_id).where(commands.c.id == command_id)).scalar()
            if run_id is None:
                return False
            with self._database.run_transaction(run_id):
                return _update(connection, chosen, values) == 1


def _in_state(state: CommandState) -> sa.ColumnElement[bool]:
    return commands.c.state == state.value


def _is_of(actor: str) -> sa.ColumnElement[bool]:
    """Whether a command's actor is this one, or this one `@` an address, in which there is no other `@`."""
    whole = commands.c.actor
    begins = sa.func.substr(whole, 1, len(actor) + 1, type_=Text) == f"{actor}@"
    return (whole == actor) | (begins & sa.not_(sa.func.substr(whole, len(actor) + 2).contains("@")))


def _of_key(connection: sa.Connection, run_id: str, key: str) -> Command | None:
    chosen = (commands.c.run_id == run_id) & (commands.c.idempotency_key == key)
    row = connection.execute(sa.select(commands).where(chosen)).first()
    return None if row is None else _as_command(row)


def _update(connection: sa.Connection, chosen: sa.ColumnElement[bool], values: Mapping[str, Any]) -> int:
    """Change the chosen commands and tell of each, in the order of acceptance; returns how many they were."""
    update = sa.update(commands).where(chosen).values(dict(values)).returning(*commands.c)
    rows = sorted(connection.execute(update).all(), key=lambda row: row.number)
    _tell(connection, map(_as_command, rows))
    return len(rows)


def _tell(connection: sa.Connection, changed: Iterable[Command]) -> None:
    """How the commands stand now, as events at the step of their end or else the run's."""
    for command in changed:
        append_event(connection, command.run_id, command.step, "command", command.as_dict())


def _as_command(row: sa.Row[Any]) -> Command:
    values = row._asdict()
    del values["number"]
    return Command(**{**values, "kind": Kind(values["kind"]), "state": CommandState(values["state"])})
