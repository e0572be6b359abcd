"""Context of one run during a request: the store that holds the run, and its directory if it is on this machine.

Every query opens the store again, so a new start of the run or a restart of either process needs no reconnection.
"""

from contextlib import AbstractContextManager, nullcontext
from urllib.parse import quote

from flask import current_app, g, request

from api.http.problems import ProblemError
from api.http.proxies import external_path
from api.runs.cached_directory import CachedRunDirectory
from service.run.directory import RunDirectory
from service.run.lock import is_launching
from service.store.store import RunRow, Store

PREFIX = "run:"
"""Prefix of the names of blueprints whose routes begin with `/runs/<run>`."""


class RunContext:
    """Access to one run for one request; `cached_directory` is None if the run's directory is not on this machine."""

    def __init__(self, store: Store, run_id: str | None, cached_directory: CachedRunDirectory | None) -> None:
        """Create the context of run `run_id`; without an id, each query uses the latest run of `store` at that time."""
        self.store = store
        self.cached_directory = cached_directory
        self._run_id = run_id

    @property
    def directory(self) -> RunDirectory | None:
        """Directory of the run's files; None if it is not on this machine."""
        return None if self.cached_directory is None else self.cached_directory.directory

    def transaction_scope(self) -> AbstractContextManager[None]:
        """Run the queries within over one connection, and commit or roll back their changes together."""
        return self.store.transaction_scope() if self.store.exists() else nullcontext()

    def snapshot_scope(self) -> AbstractContextManager[None]:
        """Run the queries within over one connection, all on the same state of the store."""
        return self.store.snapshot_scope() if self.store.exists() else nullcontext()

    def find_run(self) -> RunRow | None:
        """Return the run, or None if there is none yet; raises `StoreUnavailableError`.

        A run whose directory has vanished is returned as it was read last.
        """
        row = self._query_run() if self.store.exists() else None
        if self.cached_directory is None or self.cached_directory.store is not self.store:
            return row
        return self.cached_directory.remembered(row)

    def _query_run(self) -> RunRow | None:
        return self.store.runs.latest() if self._run_id is None else self.store.runs.get(self._run_id)

    def run(self) -> RunRow:
        """Return the run; raises `ProblemError` (no-run) or `StoreUnavailableError`."""
        run = self.find_run()
        if run is None:
            if self._run_id is not None:
                raise ProblemError("no-run", f"Run {self._run_id} has not reported to its store yet; look at its log.")
            if self.directory is not None and is_launching(self.directory.root):
                raise ProblemError("no-run", "A training is being launched in DATA_ROOT; it reports within seconds.")
            raise ProblemError("no-run", "There is no run yet in DATA_ROOT: start one with `leitstand up`.")
        return run

    def now(self, run: RunRow) -> float:
        """Return the present time on the clock of the run's trainer, by which the ages of its times are judged."""
        return self.store.runs.now(run)


def current_run_context() -> RunContext:
    """Return the context of the current request's run: the run in its path, or the default run."""
    if "context" not in g:
        for_change = request.method not in {"GET", "HEAD"}
        g.context = current_app.extensions["leitstand"].context(named_run(), for_change=for_change)
    context = g.context
    assert isinstance(context, RunContext)
    return context


def named_run() -> str | None:
    """Return the id of the run in the current request's path; None for the default run."""
    run_id = g.get("run_id")
    assert run_id is None or isinstance(run_id, str)
    return run_id


def run_path(path: str) -> str:
    """Return the path for a link in the current response: below `/runs/<run>` if the request's path is."""
    return external_path(f"/runs/{quote(g.run_id, safe='')}{path}" if is_below_run() else path)


def is_below_run() -> bool:
    """Whether the current request's path begins with `/runs/<run>`."""
    return (request.blueprint or "").startswith(PREFIX)
