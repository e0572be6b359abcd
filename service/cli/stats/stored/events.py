"""The row of a run, and the events that say how it came to be. A directory's own store is only read, never upgraded."""

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from service.cli.stats.stored.row_state import STATE_COLUMNS, state_of_row
from service.errors import RunDirectoryError, UserError, plain_reason
from service.run.directory import RunDirectory

KINDS = ("started", "set", "rollback", "command")
COLUMNS = ("step", "state", "reason", "heartbeat_at", "name", "note")
PAGE = 5000


@dataclass(frozen=True)
class StoredEvent:
    """One event: Unix seconds, step, kind and details."""

    time: float
    step: int
    kind: str
    details: Mapping[str, Any]


@dataclass(frozen=True)
class StoredRun:
    """A run as its trainer wrote it last, and its events of KINDS in their order; `heartbeat_at` in Unix seconds.

    `state` is the one to report: `lost` or `stalled` where the trainer could not write it.
    """

    step: int = 0
    state: str = ""
    reason: str | None = None
    heartbeat_at: float | None = None
    name: str | None = None
    note: str | None = None
    events: list[StoredEvent] = field(default_factory=list)


def read_run(root: Path, run_id: str, store_url: str = "") -> StoredRun:
    """Return what a store knows of a run; raises `UserError` if it cannot be asked, or does not know the run."""
    found = _shared(store_url, run_id) if store_url else _own(root, run_id)
    if found is None:
        where = "The shared store" if store_url else f"The store in {root}"
        raise RunDirectoryError(
            f"{where} does not know run {run_id}; if it reports to a shared store, name that with --store-url."
        )
    return found


def _own(root: Path, run_id: str) -> StoredRun | None:
    path = RunDirectory(root).store
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            known = {row[1] for row in connection.execute("PRAGMA table_info(runs)")}
            columns = dict.fromkeys((*COLUMNS, *STATE_COLUMNS))
            wanted = [name if name in known else "NULL" for name in columns]  # an earlier version has fewer
            row = connection.execute(f"SELECT {', '.join(wanted)} FROM runs WHERE id = ?", (run_id,)).fetchone()
            rows = connection.execute(
                "SELECT time, step, kind, details FROM events WHERE run_id = ? AND kind IN (?, ?, ?, ?) ORDER BY id",
                (run_id, *KINDS),
            )
            events = [StoredEvent(at, step, kind, json.loads(details)) for at, step, kind, details in rows]
            values = {} if row is None else dict(zip(columns, row, strict=True))
            state = state_of_row(values, time.time()) if values else ""
    except (sqlite3.Error, ValueError) as error:
        raise UserError(f"{path} cannot be read ({plain_reason(error)}); restore it from a backup.") from None
    if row is None:
        return None
    return StoredRun(**{**{name: values[name] for name in COLUMNS}, "state": state, "events": events})


def _shared(store_url: str, run_id: str) -> StoredRun | None:
    from service.store.store import Store, StoreUnavailableError

    store = Store(store_url)
    try:
        run = store.runs.get(run_id)
        if run is None:
            return None
        found = StoredRun(*(getattr(run, name) for name in COLUMNS))
        state = run.reported_state(store.runs.now(run)).value
        return replace(found, state=state, events=[*_shared_events(store, run_id)])
    except StoreUnavailableError as error:
        raise UserError(f"The store cannot be asked ({error}); mend STORE_URL, or unset it.") from None
    finally:
        store.close()


def _shared_events(store: Any, run_id: str) -> Iterator[StoredEvent]:
    after = 0
    while page := store.events.find(run_id, after, PAGE):
        after = page[-1].id
        yield from (StoredEvent(item.time, item.step, item.kind, item.details) for item in page if item.kind in KINDS)
