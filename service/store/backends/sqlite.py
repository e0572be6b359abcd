"""The store as one file in the run directory: SQLite in WAL mode, in which the writer does not block readers."""

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.util import LRUCache

from service.store.backends.base import (
    Backend,
    StoreConflictError,
    StoreReadOnlyError,
    StoreUnavailableError,
    encode_json,
)
from service.store.schema_upgrade import needs_upgrade, show_missing_as_null, upgrade

_STATEMENTS: LRUCache[Any, Any] = LRUCache(500)
"""Compiled statements of all files; the size is that of a single engine."""
_HAS_TABLES = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'runs'"


class SqliteFile(Backend):
    """The SQLite file at one path; a file that replaces it later is used from its next transaction on."""

    shows_writes_early = True

    def __init__(self, path: Path, *, keep_open: bool, busy_seconds: float) -> None:
        """Prepare the engine.

        With `keep_open`, connections stay open between transactions; otherwise each transaction opens the file that is
        at the path then. `busy_seconds` is how long to wait for a lock.
        """
        self._path = path
        self._makes_tables = keep_open
        self._wal = os.fspath(_wal_path(path))
        self._upgraded_inode: int | None = None
        kind = sqlite3.Connection if keep_open else ShortLivedConnection
        open_file = partial(_open, path, busy_seconds, kind)
        self.engine = _engine(sa.pool.QueuePool if keep_open else sa.pool.NullPool, open_file)
        self._unlocked_engine: sa.Engine | None = None

    @property
    def location(self) -> str:
        """The path of the file."""
        return str(self._path)

    def exists(self) -> bool:
        """Return True if the file exists."""
        return self._path.exists()

    def is_permanent_failure(self) -> bool:
        """Return True: waiting does not make a local file usable."""
        return True

    def create(self) -> None:
        """Create the file and its tables; raises `DBAPIError`."""
        with suppress(OSError):  # SQLite reports it below
            self._path.touch()
        self.engine.dispose()  # open connections may refer to a file that was removed
        with self.engine.begin() as connection:
            _upgrade_if_needed(connection)

    def prepare(self) -> None:
        """Upgrade the file if an earlier version created it, once per file; never creates a file.

        One that may only be read stays as it is: its connections show what it lacks as null.
        With `keep_open`, also make the tables of a file that was emptied. Raises `StoreUnavailableError` if there is no
        file.
        """
        try:
            inode = self._path.stat().st_ino
        except OSError:
            raise StoreUnavailableError(f"there is no store {self._path}") from None
        if inode != self._upgraded_inode and _is_writable(self._path):
            self.engine.dispose()  # open connections refer to the file that was replaced
            with self.engine.begin() as connection:
                if self._makes_tables or connection.exec_driver_sql(_HAS_TABLES).scalar():
                    _upgrade_if_needed(connection)
            self._upgraded_inode = inode

    def translate_error(self, error: DBAPIError) -> Exception:
        """Return the exception of the store for a driver error, such as `StoreConflictError` for a violated key."""
        if "no such table" in str(error.orig):
            self._upgraded_inode = None  # the file was emptied
        if getattr(error.orig, "sqlite_errorname", "").startswith("SQLITE_READONLY"):
            return StoreReadOnlyError(f"store {self._path} can only be read")
        kind = StoreConflictError if isinstance(error, IntegrityError) else StoreUnavailableError
        return kind(f"store {self._path}: {error.orig}")

    def lock_run(self, connection: sa.Connection, run_id: str) -> None:  # noqa: ARG002
        """Begin the write transaction now: SQLite has one writer per file, which also serialises runs."""
        if not _is_in_transaction(connection):
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    def lock_run_silently(self, connection: sa.Connection, run_id: str) -> None:
        """Begin the write transaction now."""
        self.lock_run(connection, run_id)

    def begin_snapshot(self, connection: sa.Connection) -> None:
        """Begin the transaction explicitly, because Python's driver does so only before a write."""
        if not _is_in_transaction(connection):
            connection.exec_driver_sql("BEGIN")

    def connect_unlocked(self) -> AbstractContextManager[sa.Connection]:
        """Open a connection that reads the file as it is, without locks and without a write-ahead log."""
        if self._unlocked_engine is None:
            open_file = partial(_connect, self._path, "ro&immutable=1", check_same_thread=False)
            self._unlocked_engine = _engine(sa.pool.NullPool, open_file)
        return self._unlocked_engine.connect()

    def notify(self, connection: sa.Connection, run_id: str) -> None:
        """Do nothing: the write-ahead log shows the change."""

    def change_stamp(self, run_id: str) -> tuple[int, int]:  # noqa: ARG002
        """Return modification time (ns) and size (bytes) of the write-ahead log, which all runs share."""
        try:
            status = os.stat(self._wal)  # not through a Path, which costs ten times as much: this is called often
        except OSError:
            return (0, 0)
        return (status.st_mtime_ns, status.st_size)

    def close(self) -> None:
        """Close all open connections."""
        self.engine.dispose()


class ShortLivedConnection(sqlite3.Connection):
    """A connection for one transaction that does not delete SQLite's companion files when it closes.

    SQLite creates two files beside the store for its first reader and deletes them after its last. Each time, programs
    that watch the folder for new records would have to read it again. A read-only connection cannot delete the files.
    """

    def __init__(self, address: str, *arguments: Any, **options: Any) -> None:
        super().__init__(address, *arguments, **options)
        self._path = Path(os.fsdecode(unquote_to_bytes(address.removeprefix("file:").rpartition("?")[0])))

    def close(self) -> None:
        """Close the connection; a non-empty write-ahead log is written to the database file first."""
        if self._has_wal_data():
            super().close()
            return
        uri = _uri(self._path, "ro")
        with suppress(sqlite3.Error), closing(sqlite3.connect(uri, uri=True, timeout=0)) as last_reader:
            last_reader.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()  # registers it as a reader
            super().close()
        super().close()

    def _has_wal_data(self) -> bool:
        try:
            return _wal_path(self._path).stat().st_size > 0
        except OSError:
            return False


@cache
def _shared_engine() -> sa.Engine:
    """Return the engine from which all files have their dialect and their compiled statements.

    Both are the same for every file, and to make them anew costs more than to read a run: the API may serve thousands.
    """
    engine = sa.create_engine("sqlite://", json_serializer=encode_json)
    with engine.connect():  # completes the dialect, which happens at an engine's first connection
        return engine


def _engine(pool_class: type[sa.Pool], open_file: Callable[[], Any]) -> sa.Engine:
    shared = _shared_engine()
    pool = pool_class(open_file, dialect=shared.dialect)
    return sa.Engine(pool, shared.dialect, shared.url, execution_options={"compiled_cache": _STATEMENTS})


def _uri(path: Path, mode: str) -> str:
    """Return the URI of the file; the modes `rw` and `ro` never create one."""
    return f"file:{quote(os.fsencode(path))}?mode={mode}"


def _wal_path(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _upgrade_if_needed(connection: sa.Connection) -> None:
    if needs_upgrade(connection):
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # two processes must not both add a column
        upgrade(connection)


def _is_in_transaction(connection: sa.Connection) -> bool:
    return bool(connection.connection.dbapi_connection.in_transaction)  # type: ignore[union-attr]


def _connect(path: Path, mode: str, **options: Any) -> sqlite3.Connection:
    """Open the file; anything else, such as a pipe, would keep SQLite waiting for ever. Raises `sqlite3.Error`."""
    with suppress(OSError):  # reported by SQLite
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise sqlite3.OperationalError("it is no ordinary file")
    connection: sqlite3.Connection = sqlite3.connect(_uri(path, mode), uri=True, **options)
    return connection


def _open(path: Path, busy_seconds: float, kind: type[sqlite3.Connection]) -> sqlite3.Connection:
    """Open the file for reading and writing, or for reading where this process may do no more."""
    # The pool hands a connection to one thread at a time.
    options: dict[str, Any] = {"timeout": busy_seconds, "check_same_thread": False}
    if _is_writable(path):
        connection = _connect(path, "rw", factory=kind, **options)
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
            # An acknowledged command must survive a power failure; NORMAL may lose the last transactions of the WAL.
            connection.execute("PRAGMA synchronous=FULL").close()
        except sqlite3.Error:
            connection.close()
            raise
        return connection
    # Without a log beside it nobody writes the file, and SQLite needs no file of its own to share it with a writer.
    mode = "ro" if _wal_path(path).exists() else "ro&immutable=1"
    connection = _connect(path, mode, factory=sqlite3.Connection, **options)
    show_missing_as_null(connection)
    return connection


def _is_writable(path: Path) -> bool:
    """Whether this process may write the file, and the log that SQLite keeps beside it."""
    effective = os.access in os.supports_effective_ids
    return all(os.access(place, os.W_OK, effective_ids=effective) for place in (path, path.parent))
