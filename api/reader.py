"""One run as a request sees it: the store that holds it, and its directory where that is on this machine.

Every question opens the store anew, so a fresh start or a restart of either process needs no reconnection.
"""

from flask import current_app, g, request

from api.problems import ProblemError
from api.record_files import RecordFiles
from api.saved_states import SavedStates
from service.run_directory import RunDirectory
from service.store import RunRow, Store

BUSY_SECONDS = 2.0
"""How long a command waits for a locked store before the answer is 503; reading never waits."""
PREFIX = "run:"
"""Before the names of blueprints whose routes begin with `/runs/<run>`."""


class Place:
    """A run directory on this machine, with what is kept of it between requests; safe to use from several threads."""

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory
        self.store = Store(directory.store, busy_seconds=BUSY_SECONDS)
        self.records = RecordFiles(directory.root)
        self.saved_states = SavedStates(directory.checkpoints)


class Reader:
    """Access to one run for one request. `place` is None for a run whose directory is not on this machine."""

    def __init__(self, store: Store, run_id: str | None, place: Place | None) -> None:
        """Without `run_id`, the run of `store` that started last, whichever that is at the time of a question."""
        self.store = store
        self.place = place
        self._run_id = run_id

    @property
    def directory(self) -> RunDirectory | None:
        """Where the run's files lie; None when that is not on this machine."""
        return None if self.place is None else self.place.directory

    def find_run(self) -> RunRow | None:
        """The run, or None while there is none. Raises `StoreUnavailableError`."""
        if not self.store.exists():
            return None
        return self.store.current_run() if self._run_id is None else self.store.run(self._run_id)

    def run(self) -> RunRow:
        """The run; raises `ProblemError` (no-run) or `StoreUnavailableError`."""
        run = self.find_run()
        if run is None:
            raise ProblemError("no-run", "There is no run yet in DATA_ROOT: start one with `leitstand up`.")
        return run


def current_reader() -> Reader:
    """The run that the present request speaks of: the one in its path, or the room's default."""
    if "reader" not in g:
        g.reader = current_app.extensions["leitstand"].reader(g.get("run_id"))
    reader = g.reader
    assert isinstance(reader, Reader)
    return reader


def run_path(path: str) -> str:
    """A path as links in the present answer give it: below `/runs/<run>` if the request came that way."""
    is_below = (request.blueprint or "").startswith(PREFIX)
    return f"/runs/{g.run_id}{path}" if is_below else path
