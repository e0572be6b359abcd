"""A run directory on this machine, with the state that the API keeps of it between requests."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Generic, TypeVar

from api.artifacts.checkpoints import CheckpointCatalog
from api.artifacts.previews import PreviewFiles
from api.artifacts.records.files import RecordFiles
from service.atomic_files import read_small_file
from service.errors import RunDirectoryError
from service.run.directory import RunDirectory
from service.run.discovery import is_run_directory
from service.store.store import RunRow, Store, StoreUnavailableError

BUSY_TIMEOUT_SECONDS = 2.0
"""How long a command waits for a locked store before it is answered with 503; reading never waits."""
IDLE_SECONDS = 2.0
"""The row of a store that was not written for this long is cached: any later write changes the file stamps."""

FileStamp = tuple[int, int, int] | None
T = TypeVar("T")


class CachedRunDirectory:
    """A run directory with its store, file catalogs and cached values; thread-safe."""

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory
        self.store = Store(directory.store, busy_seconds=BUSY_TIMEOUT_SECONDS)
        self.records = RecordFiles(directory.root)
        self.checkpoints = CheckpointCatalog(directory.checkpoints)
        self.previews = PreviewFiles(directory.previews)
        self._id_in_run_json = CachedFileValue(directory.identity, lambda: _id_in_run_json(directory))
        self._uses_server = CachedFileValue(directory.config, lambda: _names_store_url(directory.config))
        self._cached_row: tuple[tuple[FileStamp, FileStamp], RunRow | None] | None = None
        self._last_row: RunRow | None = None

    @property
    def holds_run(self) -> bool:
        """Whether this is the directory of a run, possibly of one that is just starting."""
        return is_run_directory(self.directory.root)

    @property
    def has_own_store(self) -> bool:
        """Whether the last start of the run reports to the store in this directory, not to a database server."""
        return self.store.exists() and not self._uses_server.current()

    def run_id(self) -> str | None:
        """Return the id of the run: from `run.json`, or from the store if that file is missing or damaged."""
        run_id = self._id_in_run_json.current()
        if run_id is not None:
            return run_id
        try:
            row = self.row()
        except StoreUnavailableError:
            return None
        return None if row is None else row.id

    def row(self) -> RunRow | None:
        """Return the run's row in the directory's own store, or None; raises `StoreUnavailableError`."""
        stamps = self._file_stamps()
        if stamps[0] is None:
            return self.vanished_row()
        cached = self._cached_row
        if cached is not None and cached[0] == stamps:
            return cached[1]
        row = self.remembered(self.read_idle(self._query_row) or self._query_row())
        self._cached_row = (stamps, row) if _is_idle(stamps) else None
        return row

    def remembered(self, row: RunRow | None) -> RunRow | None:
        """Return `row`, which was read now, and keep it; without one, the row of a vanished run."""
        if row is None:
            return self.vanished_row()
        self._last_row = row
        return row

    def vanished_row(self) -> RunRow | None:
        """Return the last row of a run that has not ended, although the store has none now; None if there is none.

        Somebody has moved or deleted the directory while the run was trained, or unmounted its disk.
        """
        row = self._last_row
        if row is None or row.state.has_ended:
            return None
        return replace(row, reason=f"{self.directory.store} is gone: its folder was moved, deleted or unmounted.")

    def forget(self) -> None:
        """Keep nothing of a vanished run, because it was found elsewhere."""
        self._last_row = None

    def read_idle(self, read: Callable[[], T]) -> T | None:
        """Return what `read` finds in the store without locks; None if someone else has opened it.

        In a room of thousands of ended runs, locks and the files beside each store are most of the cost of a look.
        """
        stamps = self._file_stamps()
        if stamps[0] is None or stamps[1] is not None or not _is_idle(stamps):
            return None
        try:
            with self.store.unlocked_scope():
                found = read()
        except StoreUnavailableError:
            return None
        return found if self._file_stamps() == stamps else None

    def _query_row(self) -> RunRow | None:
        run_id = self._id_in_run_json.current()
        return self.store.runs.latest() if run_id is None else self.store.runs.get(run_id)

    def heartbeat_at(self) -> float:
        """Return the last heartbeat in the directory's own store, as Unix seconds; minus infinity if there is none."""
        try:
            row = self.row()
        except StoreUnavailableError:
            row = None
        return float("-inf") if row is None else row.heartbeat_at

    def read_error(self) -> str | None:
        """Return why no run can be read here, as a sentence; None if there is no run yet."""
        try:
            if self.row() is None:
                self.directory.run_id()
        except (StoreUnavailableError, RunDirectoryError) as error:
            return str(error)
        except OSError as error:
            return f"{self.directory.identity} cannot be read ({error.strerror})"
        return None

    def _file_stamps(self) -> tuple[FileStamp, FileStamp]:
        store = self.directory.store
        wal = _file_stamp(store.with_name(f"{store.name}-wal"))
        # Every reader creates and removes an empty write-ahead log.
        return _file_stamp(store), wal if wal and wal[2] else None


class CachedFileValue(Generic[T]):
    """Value read from a small file, cached until the file is replaced or written."""

    def __init__(self, path: Path, read: Callable[[], T]) -> None:
        self._path = path
        self._read = read
        self._cached: tuple[FileStamp, T] | None = None

    def current(self) -> T:
        """Return the value that `read` returns for the current file."""
        stamp = _file_stamp(self._path)
        cached = self._cached
        if cached is None or cached[0] != stamp:
            cached = self._cached = (stamp, self._read())
        return cached[1]


def _is_idle(stamps: tuple[FileStamp, ...]) -> bool:
    """Whether files were not written for so long that any later write changes their stamps."""
    modified_at = max(stamp[1] for stamp in stamps if stamp) / 1e9
    return time.time() - modified_at > IDLE_SECONDS


def _file_stamp(path: Path) -> FileStamp:
    """Return what changes when a file is written or replaced: inode, mtime in ns, size; None if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_size)


def _id_in_run_json(directory: RunDirectory) -> str | None:
    try:
        return directory.run_id()
    except (OSError, RunDirectoryError):
        return None


def _names_store_url(config: Path) -> bool:
    """Whether a `config.json` has a STORE_URL (its value is masked there)."""
    try:
        return bool(json.loads(read_small_file(config))["settings"].get("STORE_URL"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
