"""What the store keeps of commands: each is a row from before it is acknowledged until for ever."""

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from service.commands import Command, CommandState, Kind
from service.database import Database
from service.tables import commands

WAIT_FOR_TRAINER_SECONDS = 60.0
"""How long a command waits for a trainer that is to come, unless it says itself at which step or until when it may."""


class CommandStore(Database):
    """The table `commands`."""

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
    ) -> Command:
        """Queue a command durably; it is on disk when this returns.

        It is to be carried out at the end of `apply_at_step`, and not begun after `expires_at`.
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
        )
        with self.transaction() as connection:
            connection.execute(sa.insert(commands).values(command.as_dict()))
        return command

    def command(self, command_id: str) -> Command | None:
        """One command, or None."""
        with self.transaction() as connection:
            row = connection.execute(sa.select(commands).where(commands.c.id == command_id)).first()
        return None if row is None else _as_command(row)

    def commands(self, run_id: str, state: CommandState | None = None, limit: int | None = None) -> list[Command]:
        """Commands of a run, oldest first; with `limit`, the newest so many."""
        query = sa.select(commands).where(commands.c.run_id == run_id)
        if state is not None:
            query = query.where(commands.c.state == state.value)
        with self.transaction() as connection:
            rows = connection.execute(query.order_by(commands.c.number.desc()).limit(limit)).all()
        return [_as_command(row) for row in reversed(rows)]

    def begin_command(self, command_id: str) -> bool:
        """Take a queued command for execution; False when somebody cancelled it before, or its time has run out."""
        now = time.time()
        started = {"state": CommandState.RUNNING.value, "started_at": now}
        may_begin = commands.c.expires_at.is_(None) | (commands.c.expires_at > now)
        return self._change(command_id, [CommandState.QUEUED], started, may_begin)

    def cancel_command(self, command_id: str, reason: str) -> bool:
        """Take a queued command back; False when it has begun or ended."""
        cancelled = {"state": CommandState.CANCELLED.value, "finished_at": time.time(), "reason": reason}
        return self._change(command_id, [CommandState.QUEUED], cancelled)

    def expire_commands(self, run_id: str, now: float) -> int:
        """Let the queued commands whose time has run out at the Unix time `now` expire; returns how many."""
        over = _queued(run_id) & (commands.c.expires_at <= now)
        return self._end(over, CommandState.EXPIRED, "its time ran out before it could begin", now)

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

    def fail_running(self, run_id: str, reason: str) -> None:
        """Fail every command that still runs, because the run has ended without an answer to it."""
        running = (commands.c.run_id == run_id) & (commands.c.state == CommandState.RUNNING.value)
        self._end(running, CommandState.FAILED, reason, time.time())

    def reject_queued(self, run_id: str, reason: str) -> None:
        """Reject every command that still waits, because the run has ended."""
        self._end(_queued(run_id), CommandState.REJECTED, reason, time.time())

    def _settle_commands(self, run_id: str, now: float) -> None:
        """What a trainer that begins finds: half done becomes `failed`, too old `expired`."""
        running = (commands.c.run_id == run_id) & (commands.c.state == CommandState.RUNNING.value)
        self._end(running, CommandState.FAILED, "interrupted", now)
        self.expire_commands(run_id, now)
        unconditional = commands.c.apply_at_step.is_(None) & commands.c.expires_at.is_(None)
        old = _queued(run_id) & unconditional & (commands.c.created_at < now - WAIT_FOR_TRAINER_SECONDS)
        waited = f"no trainer was there to carry it out within {WAIT_FOR_TRAINER_SECONDS:g} s"
        self._end(old, CommandState.EXPIRED, waited, now)

    def _end(self, chosen: sa.ColumnElement[bool], state: CommandState, reason: str, now: float) -> int:
        values = {"state": state.value, "finished_at": now, "reason": reason}
        with self.transaction() as connection:
            return connection.execute(sa.update(commands).where(chosen).values(values)).rowcount

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
        with self.transaction() as connection:
            return connection.execute(sa.update(commands).where(chosen).values(dict(values))).rowcount == 1


def _queued(run_id: str) -> sa.ColumnElement[bool]:
    return (commands.c.run_id == run_id) & (commands.c.state == CommandState.QUEUED.value)


def _as_command(row: sa.Row[Any]) -> Command:
    values = row._asdict()
    del values["number"]
    return Command(**{**values, "kind": Kind(values["kind"]), "state": CommandState(values["state"])})
