"""One run as a request sees it: the store that holds it, and its directory where that is on this machine.

Every question opens the store anew, so a fresh start or a restart of either process needs no reconnection.
"""

from contextlib import AbstractContextManager, nullcontext
from urllib.parse import quote

from flask import current_app, g, request

from api.http.problems import ProblemError
from api.runs.directory import CachedRunDirectory
from service.run.directory import RunDirectory
from service.store.store import RunRow, Store

PREFIX = "run:"
"""Before the names of blueprints whose routes begin with `/runs/<run>`."""


class RunContext:
    """Access to one run for one request. `place` is None for a run whose directory is not on this machine."""

    def __init__(self, store: Store, run_id: str | None, place: CachedRunDirectory | None) -> None:
        """Without `run_id`, the run of `store` that started last, whichever that is at the time of a question."""
        self.store = store
        self.place = place
        self._run_id = run_id

    @property
    def directory(self) -> RunDirectory | None:
        """Where the run's files lie; None when that is not on this machine."""
        return None if self.place is None else self.place.directory

    def transaction_scope(self) -> AbstractContextManager[None]:
        """Ask the store everything within over one connection, and keep all changes or none."""
        return self.store.transaction_scope() if self.store.exists() else nullcontext()

    def find_run(self) -> RunRow | None:
        """The run, or None while there is none. Raises `StoreUnavailableError`."""
        if not self.store.exists():
            return None
        return self.store.runs.latest() if self._run_id is None else self.store.runs.get(self._run_id)

    def run(self) -> RunRow:
        """The run; raises `ProblemError` (no-run) or `StoreUnavailableError`."""
        run = self.find_run()
        if run is None:
            if self._run_id is not None:
                raise ProblemError("no-run", f"Run {self._run_id} has not reported to its store yet; look at its log.")
            raise ProblemError("no-run", "There is no run yet in DATA_ROOT: start one with `leitstand up`.")
        return run


def current_run_context() -> RunContext:
    """The run that the present request speaks of: the one in its path, or the room's default."""
    if "reader" not in g:
        g.context = current_app.extensions["leitstand"].context(named_run())
    context = g.context
    assert isinstance(context, RunContext)
    return context


def named_run() -> str | None:
    """The id of the run in the present request's path, None where the default one is meant."""
    run_id = g.get("run_id")
    assert run_id is None or isinstance(run_id, str)
    return run_id


def run_path(path: str) -> str:
    """A path as links in the present answer give it: below `/runs/<run>` if the request came that way."""
    is_below = (request.blueprint or "").startswith(PREFIX)
    return f"/runs/{quote(g.run_id, safe='')}{path}" if is_below else path
