"""What the API knows: the store, the saved records and states, and which run is the current one.

Every question opens the store that lies in the run directory now, so a fresh start or a restart of either process
needs no reconnection. Nothing of a run is kept between requests but the headlines of unchanged record files.
"""

from flask import current_app

from api.problems import ProblemError
from api.record_files import RecordFiles
from api.saved_states import SavedStates
from service.run_directory import RunDirectory
from service.settings import RunConfig
from service.store import RunRow, Store

BUSY_SECONDS = 2.0
"""How long a command waits for a locked store before the answer is 503; reading never waits."""


class Reader:
    """Access to one run directory for the time of the process; safe to use from several threads."""

    def __init__(self, config: RunConfig) -> None:
        self._directory = RunDirectory(config.data_root)
        self.store = Store(self._directory.store, busy_seconds=BUSY_SECONDS)
        self.records = RecordFiles(config.data_root)
        self.saved_states = SavedStates(self._directory.checkpoints)

    def find_run(self) -> RunRow | None:
        """The run that started last, or None. Raises `StoreUnavailableError`."""
        return self.store.current_run() if self._directory.store.exists() else None

    def run(self) -> RunRow:
        """The run that started last; raises `ProblemError` (no-run) or `StoreUnavailableError`."""
        run = self.find_run()
        if run is None:
            raise ProblemError("no-run", "There is no run yet in DATA_ROOT: start one with `leitstand up`.")
        return run


def current_reader() -> Reader:
    """The reader of the application that answers the present request."""
    reader = current_app.extensions["leitstand"]
    assert isinstance(reader, Reader)
    return reader
