"""Registry of all runs that this process serves, from run directories on this machine and from a shared store.

A run directory holds its own store unless STORE_URL names a PostgreSQL database to which many trainers report.

The default run, used by routes without `/runs/<run>`, is the run in DATA_ROOT, whatever other runs report to the same
store. If DATA_ROOT is missing or is a folder of run directories, the default is the most recently started run.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote

from flask import current_app

from api.http.problems import ProblemError
from api.runs.cached_directory import BUSY_TIMEOUT_SECONDS, CachedRunDirectory
from api.runs.context import RunContext
from api.runs.directories import RunDirectories, skipped_directory
from service.api_types import RunEntry, SkippedDirectory
from service.commands import Command
from service.config.settings import RunConfig
from service.run.discovery import holds_run_directories
from service.store.store import RunRow, Store, StoreUnavailableError

LATEST_CACHE_SECONDS = 1.0
"""How long the most recently started run is cached: finding it requires a query to every store."""


@dataclass(frozen=True)
class KnownRun:
    """A run, the store that holds it, and its directory if that is on this machine."""

    row: RunRow
    store: Store
    cached_directory: CachedRunDirectory | None

    def context(self) -> RunContext:
        """Return the run's context."""
        return RunContext(self.store, self.row.id, self.cached_directory)


class RunRegistry:
    """All runs; thread-safe. Keeps the run directories, because they cache values between requests."""

    def __init__(self, config: RunConfig) -> None:
        self._run_directories = RunDirectories(config)
        self._shared_store = Store(config.store_url, busy_seconds=BUSY_TIMEOUT_SECONDS) if config.store_url else None
        self._seen_in_shared_store: set[str] = set()
        self._cached_latest: tuple[float, KnownRun | None] = (float("-inf"), None)

    def runs(self) -> list[KnownRun]:
        """Return all runs, most recently started first; raises `StoreUnavailableError` for the shared store only."""
        return self.scan()[0]

    def scan(self) -> tuple[list[KnownRun], list[SkippedDirectory]]:
        """Return all runs as `runs` does, and the directories skipped because their run cannot be read."""
        directories, skipped = self._run_directories.scan()
        shared_rows = {} if self._shared_store is None else {row.id: row for row in self._shared_store.runs.all()}
        known = []
        for run_id, cached_directory in directories.items():
            store, row = self._store_of(cached_directory), shared_rows.pop(run_id, None)
            try:
                row = row if store is self._shared_store else cached_directory.row()
            except StoreUnavailableError as error:
                skipped.append(skipped_directory(cached_directory, str(error)))
                continue
            known += [KnownRun(row, store, cached_directory)] if row else []
        known += [KnownRun(row, self._shared_store, None) for row in shared_rows.values() if self._shared_store]
        known.sort(key=lambda run: run.row.started_at, reverse=True)
        self._cached_latest = (time.monotonic(), next(iter(known), None))
        return known, skipped

    def context(self, run_id: str | None = None) -> RunContext:
        """Return the context of a run, or of the default run without `run_id`; raises `ProblemError` (not-found)."""
        if run_id is None:
            return self._default_context()
        cached_directory = self._run_directories.find(run_id, is_expected=run_id not in self._seen_in_shared_store)
        if cached_directory is not None:
            return RunContext(self._store_of(cached_directory), run_id, cached_directory)
        if self._shared_store is None or not self._is_in_shared_store(self._shared_store, run_id):
            raise ProblemError("not-found", f"There is no run {run_id!r} here; /runs lists all.")
        return RunContext(self._shared_store, run_id, None)

    def command(self, command_id: str) -> tuple[Store, Command] | None:
        """Find a command of any run; returns it with the store that holds it, or None.

        Stores of damaged directories are skipped; raises `StoreUnavailableError` for the shared store only.
        """
        for store in self._stores():
            try:
                command = store.commands.get(command_id)
            except StoreUnavailableError:
                if store is self._shared_store:
                    raise
                continue
            if command is not None:
                return store, command
        return None

    def close(self) -> None:
        """Close pooled connections; the next query opens new ones."""
        if self._shared_store is not None:
            self._shared_store.close()

    def _default_context(self) -> RunContext:
        data_root = self._run_directories.data_root()
        if data_root.holds_run:
            store, run_id = self._store_of(data_root), data_root.run_id()
            is_shared = store is self._shared_store and run_id is not None
            return RunContext(store, run_id, data_root) if is_shared else RunContext(data_root.store, None, data_root)
        root = data_root.directory.root
        if root.is_dir() and not holds_run_directories(root):
            return RunContext(data_root.store, None, data_root)  # a run may be started here later
        latest = self._latest_run()
        return (
            RunContext(self._shared_store or data_root.store, None, data_root) if latest is None else latest.context()
        )

    def _latest_run(self) -> KnownRun | None:
        cached_at, latest_run = self._cached_latest
        if latest_run is None or time.monotonic() > cached_at + LATEST_CACHE_SECONDS:
            candidates = [*self._in_own_stores(), *self._latest_in_shared_store()]
            latest_run = max(candidates, key=lambda known: known.row.started_at, default=None)
            self._cached_latest = (time.monotonic(), latest_run)
        return latest_run

    def _in_own_stores(self) -> Iterator[KnownRun]:
        """Yield the runs whose directories hold their own store; damaged directories are skipped."""
        for cached_directory in self._run_directories.scan()[0].values():
            with suppress(StoreUnavailableError):
                row = None if self._store_of(cached_directory) is self._shared_store else cached_directory.row()
                if row is not None:
                    yield KnownRun(row, cached_directory.store, cached_directory)

    def _latest_in_shared_store(self) -> Iterator[KnownRun]:
        """Yield the most recently started run of the shared store only: reading thousands would take seconds."""
        row = None if self._shared_store is None else self._shared_store.runs.latest()
        if row is not None and self._shared_store is not None:
            yield KnownRun(row, self._shared_store, self._run_directories.find(row.id, is_expected=False))

    def _store_of(self, cached_directory: CachedRunDirectory) -> Store:
        return (
            cached_directory.store
            if self._shared_store is None or cached_directory.has_own_store
            else self._shared_store
        )

    def _is_in_shared_store(self, store: Store, run_id: str) -> bool:
        """Whether the shared store holds a run; cached, as runs are never deleted. Raises `StoreUnavailableError`."""
        if run_id not in self._seen_in_shared_store and store.runs.get(run_id) is not None:
            self._seen_in_shared_store.add(run_id)
        return run_id in self._seen_in_shared_store

    def _stores(self) -> Iterator[Store]:
        if self._shared_store is not None:
            yield self._shared_store
        directories, _ = self._run_directories.scan()
        yield from (cached_directory.store for cached_directory in directories.values())


def entry(known: KnownRun, now: float, *, is_default: bool) -> RunEntry:
    """Return the list entry of a run at the Unix time `now`."""
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
        "directory": None if known.cached_directory is None else str(known.cached_directory.directory.root),
        "is_default": is_default,
        "url": f"/runs/{quote(row.id, safe='')}/",
    }


def current_registry() -> RunRegistry:
    """Return the registry of the application that serves the current request."""
    registry = current_app.extensions["leitstand"]
    assert isinstance(registry, RunRegistry)
    return registry
