"""What the store knows of a run beside its records: its state, its note, and what happened to it.

A run directory's own store is only read, never upgraded.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service.cli.events import details_sentence, sentence
from service.client.sse import LiveEvent
from service.commands import CommandState
from service.errors import UserError
from service.run.directory import RunDirectory
from service.run.records.findings.texts import Language
from service.run.records.report.contents import LogEntry
from service.run.records.report.german_events import german_sentence

PAGE = 5000
INTERVENTIONS = frozenset({"command", "rollback"})
NOT_SHOWN = frozenset({"record", "described"})
"""Kinds of events that the report shows elsewhere."""
FINAL = frozenset(str(state) for state in CommandState if state.is_final)

Row = tuple[float, int, str, Mapping[str, Any]]
"""An event: Unix time, step, kind, details."""


@dataclass
class StoredHistory:
    """The state of a run as its trainer wrote it last, its name and note, and its events in their order."""

    state: str = ""
    name: str = ""
    note: str = ""
    log: list[LogEntry] = field(default_factory=list)


def own_history(root: Path, run_id: str, language: Language) -> StoredHistory:
    """Return the history in the store inside a run directory, empty without one; raises `sqlite3.Error`."""
    path = RunDirectory(root).store
    if not path.exists():
        return StoredHistory()
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        columns = {row[1] for row in connection.execute("PRAGMA table_info(runs)")}
        wanted = [name if name in columns else "NULL" for name in ("state", "name", "note")]
        statement = f"SELECT {', '.join(wanted)} FROM runs WHERE id = ?"
        run = connection.execute(statement, (run_id,)).fetchone() or ("", "", "")
        rows = connection.execute(
            "SELECT time, step, kind, details FROM events WHERE run_id = ? ORDER BY id", (run_id,)
        )
        log = [*log_entries(((at, step, kind, json.loads(details)) for at, step, kind, details in rows), language)]
    state, name, note = (text or "" for text in run)
    return StoredHistory(state, name, note, log)


def shared_history(store_url: str, run_id: str, language: Language) -> StoredHistory:
    """Return the history in a store that many runs share; raises `UserError` if it cannot be asked."""
    from service.store.store import Store, StoreUnavailableError

    store = Store(store_url)
    try:
        run = store.runs.get(run_id)
        log = [*log_entries(_shared_rows(store, run_id), language)]
    except StoreUnavailableError as error:
        raise UserError(f"The store cannot be asked ({error}); mend STORE_URL, or unset it.") from None
    finally:
        store.close()
    if run is None:
        return StoredHistory(log=log)
    return StoredHistory(str(run.state), run.name or "", run.note or "", log)


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
