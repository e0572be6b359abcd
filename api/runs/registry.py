"""Registry of all runs that this process serves, from run directories on this machine and from a shared store.

A run directory holds its own store unless STORE_URL names a PostgreSQL database to which many trainers report.

The default run, used by routes without `/runs/<run>`, is the run in DATA_ROOT, whatever other runs report to the same
store. If DATA_ROOT is missing or is a folder of run directories, the default is the most recently started run.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from flask import current_app

from api.http.problems import ProblemError
from api.http.proxies import external_path
from api.runs.cached_directory import BUSY_TIMEOUT_SECONDS, CachedRunDirectory
from api.runs.context import RunContext
from api.runs.directories import RunDirectories, skipped_directory
from service.api_types import RunEntry, SkippedDirectory
from service.commands import Command
from service.config.settings import RunConfig
from service.run.discovery import holds_run_directories
from service.store.queries.runs import RunPosition
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


@dataclass(frozen=True)
class RunPage:
    """One page of the runs, most recently started first, and the directories skipped because they cannot be read.

    `end` is the position after which the next page begins, or None on the last page.
    """

    runs: list[KnownRun]
    skipped: list[SkippedDirectory]
    end: RunPosition | None


class RunRegistry:
    """All runs; thread-safe. Keeps the run directories, because they cache values between requests."""

    def __init__(self, config: RunConfig) -> None:
        self._run_directories = RunDirectories(config)
        self._shared_store = Store(config.store_url, busy_seconds=BUSY_TIMEOUT_SECONDS) if config.store_url else None
        self._seen_in_shared_store: set[str] = set()
        self._default_in_shared_store: str | None = None
        self._cached_latest: tuple[float, KnownRun | None] = (float("-inf"), None)

    def runs(self, *, heard_since: float | None = None) -> list[KnownRun]:
        """Return all runs, most recently started first; raises `StoreUnavailableError` for the shared store only.

        Of the shared store, which may hold very many, only those with a heartbeat since the Unix time `heard_since`.
        """
        directories, _ = self._run_directories.scan()
        shared = [] if self._shared_store is None else self._shared_store.runs.all(heard_since=heard_since)
        known = [*self._own_runs(directories, []), *self._shared_runs(directories, shared)]
        return sorted(known, key=lambda run: run.row.position, reverse=True)

    def page(self, after: RunPosition | None, limit: int) -> RunPage:
        """Return the next runs after a position, at most `limit`; raises like `runs`."""
        directories, skipped = self._run_directories.scan()
        shared = [] if self._shared_store is None else self._shared_store.runs.page(after, limit)
        known = [*self._own_runs(directories, skipped), *self._shared_runs(directories, shared)]
        if after is not None:
            known = [run for run in known if run.row.position < after]
        last_read = shared[-1].position if len(shared) == limit else None
        if last_read is not None:  # the shared store may have runs between its last one here and those left out
            known = [run for run in known if run.row.position >= last_read]
        known.sort(key=lambda run: run.row.position, reverse=True)
        end = known[limit - 1].row.position if len(known) > limit else last_read
        if after is None:
            self._cached_latest = (time.monotonic(), next(iter(known), None))
        return RunPage(known[:limit], skipped, end)

    def _own_runs(
        self, directories: Mapping[str, CachedRunDirectory], skipped: list[SkippedDirectory]
    ) -> Iterator[KnownRun]:
        """Yield the runs whose directories hold their own store; add directories that cannot be read to `skipped`."""
        for cached_directory in directories.values():
            try:
                row = None if self._store_of(cached_directory) is self._shared_store else cached_directory.row()
            except StoreUnavailableError as error:
                skipped.append(skipped_directory(cached_directory, str(error)))
                continue
            if row is not None:
                yield KnownRun(row, cached_directory.store, cached_directory)

    def _shared_runs(self, directories: Mapping[str, CachedRunDirectory], rows: Iterable[RunRow]) -> Iterator[KnownRun]:
        """Yield the runs of the shared store, but for those whose directories hold their own store."""
        for row in rows:
            cached_directory = directories.get(row.id)
            if self._shared_store is not None and (
                cached_directory is None or self._store_of(cached_directory) is self._shared_store
            ):
                yield KnownRun(row, self._shared_store, cached_directory)

    def context(self, run_id: str | None = None, *, for_change: bool = False) -> RunContext:
        """Return the context of a run, or of the default run without `run_id`; raises `ProblemError` (not-found).

        With `for_change`, all directories are looked at again: of several with the same run, as after a move or a copy,
        only the one that is alive may be written.
        """
        if run_id is None:
            return self._default_context()
        if for_change:
            self._run_directories.scan()
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
        if data_root.holds_run or data_root.vanished_row() is not None:
            store, run_id = self._store_of(data_root), data_root.run_id()
            is_shared = store is self._shared_store and run_id is not None
            self._default_in_shared_store = run_id if is_shared else None
            return RunContext(store, run_id, data_root) if is_shared else RunContext(data_root.store, None, data_root)
        if self._shared_store is not None and (run_id := self._default_in_shared_store) is not None:
            row = self._shared_store.runs.get(run_id)
            if row is not None and not row.state.has_ended:  # its directory was moved or deleted, but it reports on
                return RunContext(self._shared_store, run_id, None)
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
            candidates = [*self._own_runs(self._run_directories.scan()[0], []), *self._latest_in_shared_store()]
            latest_run = max(candidates, key=lambda known: known.row.started_at, default=None)
            self._cached_latest = (time.monotonic(), latest_run)
        return latest_run

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


def entry(known: KnownRun, *, is_default: bool) -> RunEntry:
    """Return the present list entry of a run."""
    row, now = known.row, known.store.runs.now(known.row)
    snapshot = row.snapshot or {}
    return {
        "run_id": row.id,
        "run_state": row.reported_state(now).value,
        "run_reason": row.reason,
        "step": row.step,
        "step_max": snapshot.get("step_max"),
        "started_at": row.started_at,
        "heartbeat_at": row.heartbeat_at,
        "age_seconds": max(0.0, now - row.heartbeat_at),
        "directory": None if known.cached_directory is None else str(known.cached_directory.directory.root),
        "is_default": is_default,
        "url": external_path(f"/runs/{quote(row.id, safe='')}/"),
        "name": row.name,
        "note": row.note,
        "quality": snapshot.get("quality_ki_value"),
        "best_quality": snapshot.get("best_quality_ever"),
    }


def current_registry() -> RunRegistry:
    """Return the registry of the application that serves the current request."""
    registry = current_app.extensions["leitstand"]
    assert isinstance(registry, RunRegistry)
    return registry
