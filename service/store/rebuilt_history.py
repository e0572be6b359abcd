"""Events and commands of a run made again from its log and its records, as far as these tell.

A record names the command that asked for it, but not who gave that. Of the other commands only their effect is told: a
change of settings, a rollback, a pause.
"""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from service.commands import Command, CommandState, Kind
from service.run.record import record_name
from service.store.log_events import LoggedEvent, events_in
from service.store.queries.records import EVENT_KEYS
from service.store.store import Store
from service.store.tables import commands, events

UNKNOWN = "unknown"
SOURCE = "rebuilt"


def restore_history(store: Store, run_id: str, log: Path) -> tuple[int, int]:
    """Put events and commands into a store that has no event of the run; return how many of each.

    Raises `OSError` or `StoreUnavailableError`.
    """
    if store.events.last_id(run_id):
        return 0, 0
    asked = [command for command in _commands(store, run_id) if store.commands.get(command.id) is None]
    found = [*_logged(log), *_record_events(store, run_id), *map(_command_event, asked)]
    found.sort(key=lambda event: event.time)
    with store.run_transaction(run_id) as connection:
        for command in asked:
            connection.execute(sa.insert(commands).values(command.as_dict()))
        # Higher than any id of the store that was lost, after which readers would look; a server goes on counting.
        first_id = int(1000 * time.time()) if connection.dialect.name == "sqlite" else None
        for number, event in enumerate(found):
            row = {"run_id": run_id, "time": event.time, "step": event.step, "kind": event.kind}
            own_id = {} if first_id is None else {"id": first_id + number}
            connection.execute(sa.insert(events).values({**own_id, **row, "details": dict(event.details)}))
    return len(found), len(asked)


def _logged(log: Path) -> list[LoggedEvent]:
    if not log.is_file():
        return []
    with log.open(encoding="utf-8", errors="replace") as lines:
        return [*events_in(lines)]


def _records(store: Store, run_id: str) -> Iterator[tuple[int, float, str, Mapping[str, Any]]]:
    """Yield step, time, sha256 and content of the records of the present branch."""
    after = -1
    while page := store.records.find(run_id, after_step=after, limit=200):
        after = page[-1].step
        yield from ((row.step, row.time, row.sha256, row.record) for row in page)


def _record_events(store: Store, run_id: str) -> Iterator[LoggedEvent]:
    for step, at, sha256, record in _records(store, run_id):
        values = {name: record.get(name) for name in EVENT_KEYS}
        yield LoggedEvent(at, step, "record", {"step": step, "name": record_name(step), "sha256": sha256, **values})


def _commands(store: Store, run_id: str) -> Iterator[Command]:
    """Yield the validations that somebody asked for, which their records name."""
    for step, at, _, record in _records(store, run_id):
        command_id = record.get("command_id")
        if isinstance(command_id, str) and command_id:
            result = {"shared": False, "record": record_name(step)}
            yield Command(
                command_id, run_id, Kind.VALIDATE, CommandState.DONE, UNKNOWN, SOURCE, at, {}, started_at=at,
                finished_at=at, step=step, result=result,
            )  # fmt: skip


def _command_event(command: Command) -> LoggedEvent:
    return LoggedEvent(command.created_at, command.step or 0, "command", command.as_dict())
