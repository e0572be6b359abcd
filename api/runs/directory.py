"""A run directory on this machine, as the API keeps it between requests."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from api.artifacts.checkpoints import CheckpointCatalog
from api.artifacts.previews import PreviewFiles
from api.artifacts.records.files import RecordFiles
from service.errors import RunDirectoryError
from service.run.directory import RunDirectory
from service.run.discovery import is_run_directory
from service.store.store import RunRow, Store, StoreUnavailableError

BUSY_SECONDS = 2.0
"""How long a command waits for a locked store before the answer is 503; reading never waits."""
QUIET_SECONDS = 2.0
"""A store that nobody wrote to for so long is not opened again to list its run: all that was written can be read."""

Stamp = tuple[int, int, int] | None
T = TypeVar("T")


class CachedRunDirectory:
    """A run directory, with what is kept of it; safe to use from several threads."""

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory
        self.store = Store(directory.store, busy_seconds=BUSY_SECONDS)
        self.records = RecordFiles(directory.root)
        self.saved_states = CheckpointCatalog(directory.checkpoints)
        self.previews = PreviewFiles(directory.previews)
        self._written_id = CachedReading(directory.identity, lambda: _written_id(directory))
        self._reports_elsewhere = CachedReading(directory.config, lambda: _names_a_server(directory.config))
        self._row: tuple[tuple[Stamp, Stamp], RunRow | None] | None = None

    @property
    def holds_run(self) -> bool:
        """Whether a run lives here, or has begun to."""
        return is_run_directory(self.directory.root)

    @property
    def has_own_store(self) -> bool:
        """Whether the run, as it was started last, reports to the store in its directory, not to a server."""
        return self.store.exists() and not self._reports_elsewhere.current()

    def run_id(self) -> str | None:
        """The id of the run that lives here: from `run.json`, or from the store where that is missing or damaged."""
        written = self._written_id.current()
        if written is not None:
            return written
        try:
            row = self.row()
        except StoreUnavailableError:
            return None
        return None if row is None else row.id

    def row(self) -> RunRow | None:
        """The run as the directory's own store has it; None where it has none. Raises `StoreUnavailableError`."""
        stamps = self._stamps()
        if stamps[0] is None:
            return None
        known = self._row
        if known is not None and known[0] == stamps:
            return known[1]
        run_id = self._written_id.current()
        row = self.store.runs.latest() if run_id is None else self.store.runs.get(run_id)
        written_at = max(stamp[1] for stamp in stamps if stamp) / 1e9
        self._row = (stamps, row) if time.time() - written_at > QUIET_SECONDS else None
        return row

    def heartbeat_at(self) -> float:
        """The last sign of life that the directory's own store knows of; below all others where it knows none."""
        try:
            row = self.row()
        except StoreUnavailableError:
            row = None
        return float("-inf") if row is None else row.heartbeat_at

    def read_error(self) -> str | None:
        """Why no run can be read here, in a sentence; None where there is simply none yet."""
        try:
            if self.row() is None:
                self.directory.run_id()
        except (StoreUnavailableError, RunDirectoryError) as error:
            return str(error)
        except OSError as error:
            return f"{self.directory.identity} cannot be read ({error.strerror})"
        return None

    def _stamps(self) -> tuple[Stamp, Stamp]:
        store = self.directory.store
        log = _stamp(store.with_name(f"{store.name}-wal"))
        # An empty write-ahead log comes and goes with every reader.
        return _stamp(store), log if log and log[2] else None


class CachedReading(Generic[T]):
    """What was read from a small file, read again once the file is another or was written."""

    def __init__(self, path: Path, read: Callable[[], T]) -> None:
        self._path = path
        self._read = read
        self._known: tuple[Stamp, T] | None = None

    def current(self) -> T:
        """What `read` makes of the file as it is now."""
        stamp = _stamp(self._path)
        known = self._known
        if known is None or known[0] != stamp:
            known = self._known = (stamp, self._read())
        return known[1]


def _stamp(path: Path) -> Stamp:
    """What differs once a file was written or replaced: inode, time in nanoseconds, size; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_size)


def _written_id(directory: RunDirectory) -> str | None:
    try:
        return directory.run_id()
    except (OSError, RunDirectoryError):
        return None


def _names_a_server(config: Path) -> bool:
    """Whether a `config.json` holds a STORE_URL, which is masked there."""
    try:
        return bool(json.loads(config.read_bytes())["settings"].get("STORE_URL"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
