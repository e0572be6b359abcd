"""What the store knows of a run beside its records: its state, its note, and what happened to it.

A run directory's own store is only read, never upgraded.
"""

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service.cli.events import details_sentence, sentence
from service.cli.stats.stored.events import StoredEvent
from service.cli.stats.stored.row_state import STATE_COLUMNS, state_of_row
from service.client.sse import LiveEvent
from service.commands import CommandState
from service.errors import UserError
from service.run.directory import RunDirectory
from service.run.ledger.answer import LedgerAnswer
from service.run.ledger.last_seen import LastSeen
from service.run.ledger.ledger import REGISTERED, TIME_SPENT, RunLedger
from service.run.records.findings.texts import Language
from service.run.records.report.contents import LogEntry
from service.run.records.report.german_events import german_sentence
from service.run.state import RunState

PAGE = 5000
INTERVENTIONS = frozenset({"command", "rollback"})
NOT_SHOWN = frozenset({"record", "described", REGISTERED, TIME_SPENT})
"""Kinds of events that the report shows elsewhere."""
_COLUMNS = ("state", "name", "note", "reason", "step", "heartbeat_at", "started_at", "facts")
FINAL = frozenset(str(state) for state in CommandState if state.is_final)

Row = tuple[float, int, str, Mapping[str, Any]]
"""An event: Unix time, step, kind, details."""


@dataclass
class StoredHistory:
    """The state of a run as it is reported, its name, note and ledger, and its events in their order."""

    state: str = ""
    name: str = ""
    note: str = ""
    log: list[LogEntry] = field(default_factory=list)
    ledger: LedgerAnswer | None = None


def own_history(root: Path, run_id: str, language: Language) -> StoredHistory:
    """Return the history in the store inside a run directory, empty without one; raises `sqlite3.Error`."""
    path = RunDirectory(root).store
    if not path.exists():
        return StoredHistory()
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        columns = {row[1] for row in connection.execute("PRAGMA table_info(runs)")}
        names = dict.fromkeys((*_COLUMNS, *STATE_COLUMNS))
        wanted = [name if name in columns else "NULL" for name in names]  # an earlier version has fewer
        run = connection.execute(f"SELECT {', '.join(wanted)} FROM runs WHERE id = ?", (run_id,)).fetchone()
        found = connection.execute(
            "SELECT time, step, kind, details FROM events WHERE run_id = ? ORDER BY id", (run_id,)
        )
        rows = [(at, step, kind, json.loads(details)) for at, step, kind, details in found]
    log = [*log_entries(rows, language)]
    if run is None:
        return StoredHistory(log=log)
    values = dict(zip(names, run, strict=True))
    name, note, state = values["name"] or "", values["note"] or "", state_of_row(values, time.time())
    return StoredHistory(state, name, note, log, _own_ledger(rows, values, is_lost=state == RunState.LOST))


def _own_ledger(rows: Iterable[Row], run: Mapping[str, Any], *, is_lost: bool) -> LedgerAnswer:
    """Return the ledger that a store's events and the columns of its run's row give."""
    ledger = RunLedger()
    for row in rows:
        ledger.apply(StoredEvent(*row))
    seen = LastSeen.parse({**run, "time_spent": json.loads(run["facts"] or "{}").get("time_spent")})
    return ledger.answer(seen, is_lost=is_lost)


def shared_history(store_url: str, run_id: str, language: Language) -> StoredHistory:
    """Return the history in a store that many runs share; raises `UserError` if it cannot be asked."""
    from service.store.store import Store, StoreUnavailableError

    store = Store(store_url)
    try:
        run = store.runs.get(run_id)
        log = [*log_entries(_shared_rows(store, run_id), language)]
        now = 0.0 if run is None else store.runs.now(run)
        ledger = None if run is None else store.ledgers.of(run, now)
    except StoreUnavailableError as error:
        raise UserError(f"The store cannot be asked ({error}); mend STORE_URL, or unset it.") from None
    finally:
        store.close()
    if run is None:
        return StoredHistory(log=log)
    return StoredHistory(run.reported_state(now).value, run.name or "", run.note or "", log, ledger)


def _shared_rows(store: Any, run_id: str) -> Iterator[Row]:
    after = 0
    while page := store.events.find(run_id, after, PAGE):
        after = page[-1].id
        yield from ((event.time, event.step, event.kind, event.details) for event in page)


def log_entries(rows: Iterable[Row], language: Language) -> Iterator[LogEntry]:
    """Yield the events that a person wants to see; of a command only its end."""
    for at, step, kind, details in rows:
        if kind in NOT_SHOWN or (kind == "command" and details.get("state") not in FINAL):
            continue
        text = german_sentence(kind, details) if language == "de" else _text(kind, details)
        yield LogEntry(at, details.get("step") or step, kind, text, kind in INTERVENTIONS)


def _text(kind: str, details: Mapping[str, Any]) -> str:
    if kind in ("command", "alert"):
        actor = f" ({details['actor']})" if details.get("actor") else ""
        return sentence(LiveEvent("", kind, dict(details))) + actor
    return details_sentence(kind, details)
