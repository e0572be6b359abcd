"""The store as one file in the run directory: SQLite in WAL mode, in which the writer does not block readers."""

import os
import sqlite3
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from service.store.backends.base import Backend, StoreUnavailableError, encode_json
from service.store.schema_upgrade import needs_upgrade, upgrade


class SqliteFile(Backend):
    """The SQLite file at one path; a file that replaces it later is used from its next transaction on."""

    shows_writes_early = True

    def __init__(self, path: Path, *, keep_open: bool, busy_seconds: float) -> None:
        """Prepare the engine.

        With `keep_open`, connections stay open between transactions; otherwise each transaction opens the file that is
        at the path then. `busy_seconds` is how long to wait for a lock.
        """
        self._path = path
        self._upgraded_inode: int | None = None
        self.engine = sa.create_engine(
            "sqlite://",
            creator=partial(
                sqlite3.connect,
                _uri(path, "rw"),
                uri=True,
                timeout=busy_seconds,
                check_same_thread=False,  # the pool hands a connection to one thread at a time
                factory=sqlite3.Connection if keep_open else ShortLivedConnection,
            ),
            poolclass=sa.pool.QueuePool if keep_open else sa.pool.NullPool,
            json_serializer=encode_json,
        )
        sa.event.listen(self.engine, "connect", _configure_connection)

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
        with self.engine.begin() as connection:
            _upgrade_if_needed(connection)

    def prepare(self) -> None:
        """Upgrade the file if an earlier version created it, once per file; never creates a file.

        Raises `StoreUnavailableError` if there is no file.
        """
        try:
            inode = self._path.stat().st_ino
        except OSError:
            raise StoreUnavailableError(f"there is no store {self._path}") from None
        if inode != self._upgraded_inode:
            self.engine.dispose()  # open connections refer to the file that was replaced
            with self.engine.begin() as connection:
                if sa.inspect(connection).has_table("runs"):
                    _upgrade_if_needed(connection)
            self._upgraded_inode = inode

    def translate_error(self, error: DBAPIError) -> Exception:
        """Return `StoreUnavailableError` for every driver error."""
        return StoreUnavailableError(f"store {self._path}: {error.orig}")

    def lock_run(self, connection: sa.Connection, run_id: str) -> None:  # noqa: ARG002
        """Begin the write transaction now: SQLite has one writer per file, which also serialises runs."""
        if not _is_in_transaction(connection):
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    def begin_snapshot(self, connection: sa.Connection) -> None:
        """Begin the transaction explicitly, because Python's driver does so only before a write."""
        if not _is_in_transaction(connection):
            connection.exec_driver_sql("BEGIN")

    def notify(self, connection: sa.Connection, run_id: str) -> None:
        """Do nothing: the write-ahead log shows the change."""

    def change_stamp(self, run_id: str) -> tuple[int, int]:  # noqa: ARG002
        """Return modification time (ns) and size (bytes) of the write-ahead log, which all runs share."""
        try:
            status = _wal_path(self._path).stat()
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


def _configure_connection(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    # An acknowledged command must survive a power failure; NORMAL may lose the last transactions of the WAL.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()
