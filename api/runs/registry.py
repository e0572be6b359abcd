"""The control room: every run that this process serves, from run directories on this machine and from a shared store.

A run directory holds its own store unless STORE_URL names a PostgreSQL database into which many trainers report.

The default run, of which routes without `/runs/<run>` speak, is the one in DATA_ROOT: what was started here is steered
from here, whoever else reports into the same store. Only where DATA_ROOT is no place for one run, because it does not
exist or is a folder of run directories, it is the run that started last.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote

from flask import current_app

from api.http.problems import ProblemError
from api.runs.context import RunContext
from api.runs.directories import RunDirectories, skipped_directory
from api.runs.directory import BUSY_SECONDS, CachedRunDirectory
from service.api_types import RunEntry, SkippedDirectory
from service.commands import Command
from service.config.settings import RunConfig
from service.run.discovery import holds_run_directories
from service.store.store import RunRow, Store, StoreUnavailableError

KEPT_SECONDS = 1.0
"""How long the choice of the run that started last is kept: it costs a look into every store."""


@dataclass(frozen=True)
class KnownRun:
    """A run, the store that it is in, and its place if it has one here."""

    row: RunRow
    store: Store
    place: CachedRunDirectory | None

    def context(self) -> RunContext:
        """Access to it."""
        return RunContext(self.store, self.row.id, self.place)


class RunRegistry:
    """All runs; safe to use from several threads. Places are kept for what they remember between requests."""

    def __init__(self, config: RunConfig) -> None:
        self._places = RunDirectories(config)
        self._shared = Store(config.store_url, busy_seconds=BUSY_SECONDS) if config.store_url else None
        self._seen_in_shared: set[str] = set()
        self._latest: tuple[float, KnownRun | None] = (float("-inf"), None)

    def runs(self) -> list[KnownRun]:
        """Every run, the one that started last first; raises `StoreUnavailableError` for the shared store alone."""
        return self.survey()[0]

    def survey(self) -> tuple[list[KnownRun], list[SkippedDirectory]]:
        """Every run as `runs` has it, and the directories that show none: one that is damaged hides no other."""
        places, skipped = self._places.survey()
        shared = {} if self._shared is None else {row.id: row for row in self._shared.runs.all()}
        known = []
        for run_id, place in places.items():
            store, row = self._store_of(place), shared.pop(run_id, None)
            try:
                row = row if store is self._shared else place.row()
            except StoreUnavailableError as error:
                skipped.append(skipped_directory(place, str(error)))
                continue
            known += [KnownRun(row, store, place)] if row else []
        known += [KnownRun(row, self._shared, None) for row in shared.values() if self._shared]
        known.sort(key=lambda found: found.row.started_at, reverse=True)
        self._latest = (time.monotonic(), next(iter(known), None))
        return known, skipped

    def context(self, run_id: str | None = None) -> RunContext:
        """Access to a run, or without `run_id` to the default one; raises `ProblemError` (not-found)."""
        if run_id is None:
            return self._default_reader()
        place = self._places.of_run(run_id, is_expected=run_id not in self._seen_in_shared)
        if place is not None:
            return RunContext(self._store_of(place), run_id, place)
        if self._shared is None or not self._is_in(self._shared, run_id):
            raise ProblemError("not-found", f"There is no run {run_id!r} here; /runs lists all.")
        return RunContext(self._shared, run_id, None)

    def command(self, command_id: str) -> tuple[Store, Command] | None:
        """A command of any run, and the store that it is in; None where there is none.

        A damaged directory has none; raises `StoreUnavailableError` for the shared store alone.
        """
        for store in self._stores():
            try:
                command = store.commands.get(command_id)
            except StoreUnavailableError:
                if store is self._shared:
                    raise
                continue
            if command is not None:
                return store, command
        return None

    def close(self) -> None:
        """Give back kept connections; the next question makes new ones."""
        if self._shared is not None:
            self._shared.close()

    def _default_reader(self) -> RunContext:
        home = self._places.home()
        if home.holds_run:
            store, run_id = self._store_of(home), home.run_id()
            is_shared = store is self._shared and run_id is not None
            return RunContext(store, run_id, home) if is_shared else RunContext(home.store, None, home)
        root = home.directory.root
        if root.is_dir() and not holds_run_directories(root):
            return RunContext(home.store, None, home)  # a run is to come here
        latest = self._started_last()
        return RunContext(self._shared or home.store, None, home) if latest is None else latest.context()

    def _started_last(self) -> KnownRun | None:
        chosen_at, chosen = self._latest
        if chosen is None or time.monotonic() > chosen_at + KEPT_SECONDS:
            found = [*self._in_own_stores(), *self._newest_in_shared()]
            chosen = max(found, key=lambda known: known.row.started_at, default=None)
            self._latest = (time.monotonic(), chosen)
        return chosen

    def _in_own_stores(self) -> Iterator[KnownRun]:
        """The runs whose directories here hold their stores; a damaged one shows none."""
        for place in self._places.survey()[0].values():
            with suppress(StoreUnavailableError):
                row = None if self._store_of(place) is self._shared else place.row()
                if row is not None:
                    yield KnownRun(row, place.store, place)

    def _newest_in_shared(self) -> Iterator[KnownRun]:
        """The one run of the shared store that may be it: of thousands, reading all would take seconds."""
        row = None if self._shared is None else self._shared.runs.latest()
        if row is not None and self._shared is not None:
            yield KnownRun(row, self._shared, self._places.of_run(row.id, is_expected=False))

    def _store_of(self, place: CachedRunDirectory) -> Store:
        return place.store if self._shared is None or place.has_own_store else self._shared

    def _is_in(self, shared: Store, run_id: str) -> bool:
        """Whether the shared store knows a run, which it never forgets. Raises `StoreUnavailableError`."""
        if run_id not in self._seen_in_shared and shared.runs.get(run_id) is not None:
            self._seen_in_shared.add(run_id)
        return run_id in self._seen_in_shared

    def _stores(self) -> Iterator[Store]:
        if self._shared is not None:
            yield self._shared
        places, _ = self._places.survey()
        yield from (place.store for place in places.values())


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
        "url": f"/runs/{quote(row.id, safe='')}/",
    }


def current_registry() -> RunRegistry:
    """The room of the application that answers the present request."""
    registry = current_app.extensions["leitstand"]
    assert isinstance(registry, RunRegistry)
    return registry
