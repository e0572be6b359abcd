"""The control room: every run that this process serves, from run directories on this machine and from a shared store.

A run directory holds its own store unless STORE_URL names a PostgreSQL database into which many trainers report.
"""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flask import current_app

from api.problems import ProblemError
from api.reader import BUSY_SECONDS, Place, Reader
from api.run_folders import RunFolders
from service.answers import RunEntry
from service.errors import RunDirectoryError
from service.run_directory import RunDirectory
from service.settings import RunConfig
from service.store import RunRow, Store, StoreUnavailableError

KEPT_SECONDS = 1.0
"""How long the choice of the default run among several stores is kept: each costs a look into its file."""


@dataclass(frozen=True)
class KnownRun:
    """A run, the store that it is in, and its place if it has one here."""

    row: RunRow
    store: Store
    place: Place | None

    def reader(self) -> Reader:
        """Access to it."""
        return Reader(self.store, self.row.id, self.place)


class Room:
    """All runs; safe to use from several threads. Places are kept for what they remember between requests."""

    def __init__(self, config: RunConfig) -> None:
        self._folders = RunFolders.of(config)
        self._home = config.data_root
        self._shared = Store(config.store_url, busy_seconds=BUSY_SECONDS) if config.store_url else None
        self._places: dict[Path, Place] = {}
        self._lock = threading.Lock()
        self._default: tuple[float, KnownRun | None] = (float("-inf"), None)

    def runs(self) -> list[KnownRun]:
        """Every run, the one that started last first. Raises `StoreUnavailableError` if nothing can be read."""
        return sorted(self._known(), key=lambda known: known.row.started_at, reverse=True)

    def reader(self, run_id: str | None = None) -> Reader:
        """Access to a run, or without `run_id` to the default one; raises `ProblemError` (not-found)."""
        if run_id is None:
            return self._default_reader()
        for known in self._known(run_id):
            return known.reader()
        raise ProblemError("not-found", f"There is no run {run_id!r} here; /runs lists all.")

    def _default_reader(self) -> Reader:
        """The run of DATA_ROOT where nothing else is served, else the one that started last."""
        home = self._place(self._home)
        if self._shared is None and self._folders.roots == (self._home,):
            return Reader(home.store, None, home)
        chosen = self._newest()
        return Reader(self._shared or home.store, None, home) if chosen is None else chosen.reader()

    def _newest(self) -> KnownRun | None:
        chosen_at, chosen = self._default
        if chosen is None or time.monotonic() > chosen_at + KEPT_SECONDS:
            chosen = next(iter(self.runs()), None)
            self._default = (time.monotonic(), chosen)
        return chosen

    def _known(self, run_id: str | None = None) -> Iterator[KnownRun]:
        """All runs or the one with this id, each once: the shared store's first, then those with a store of their own.

        A directory whose store cannot be read hides no other.
        """
        seen = set()
        places = {path: self._place(path) for path in self._folders.all()}
        if self._shared is not None:
            homes = {found: place for place in places.values() if (found := _identity(place))}
            for row in _rows(self._shared, run_id):
                seen.add(row.id)
                yield KnownRun(row, self._shared, homes.get(row.id))
        for place in places.values():
            for row in _rows_of(place, run_id):
                if row.id not in seen:
                    seen.add(row.id)
                    yield KnownRun(row, place.store, place)

    def _place(self, path: Path) -> Place:
        with self._lock:
            if path not in self._places:
                self._places[path] = Place(RunDirectory(path))
            return self._places[path]


def _rows(store: Store, run_id: str | None) -> list[RunRow]:
    if run_id is None:
        return store.runs()
    row = store.run(run_id)
    return [] if row is None else [row]


def _rows_of(place: Place, run_id: str | None) -> list[RunRow]:
    try:
        return _rows(place.store, run_id) if place.store.exists() else []
    except StoreUnavailableError:
        return []


def _identity(place: Place) -> str | None:
    try:
        return place.directory.run_id()
    except (OSError, RunDirectoryError):
        return None


def entry(known: KnownRun, now: float, *, is_default: bool) -> RunEntry:
    """The list's entry for a run at the Unix time `now`."""
    row = known.row
    return {
        "run_id": row.id,
        "run_state": row.reported_state(now).value,
        "run_reason": row.reason,
        "step": row.step,
        "step_max": (row.snapshot or {}).get("step_max"),
        "started_at": row.started_at,
        "heartbeat_at": row.heartbeat_at,
        "age_seconds": max(0.0, now - row.heartbeat_at),
        "directory": None if known.place is None else str(known.place.directory.root),
        "is_default": is_default,
        "url": f"/runs/{row.id}/",
    }


def current_room() -> Room:
    """The room of the application that answers the present request."""
    room = current_app.extensions["leitstand"]
    assert isinstance(room, Room)
    return room
