"""The store as one file in the run directory: SQLite in WAL mode. One writer never blocks readers."""

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
from service.store.schema_upgrade import complete, is_incomplete


class SqliteFile(Backend):
    """The file at one path, also after a fresh start has put another in its place."""

    shows_writes_early = True

    def __init__(self, path: Path, *, keep_open: bool, busy_seconds: float) -> None:
        """`keep_open` keeps connections between transactions; otherwise each opens the file that lies there then."""
        self._path = path
        self._known_file: int | None = None
        self.engine = sa.create_engine(
            "sqlite://",
            creator=partial(
                sqlite3.connect,
                _address(path, "rw"),
                uri=True,
                timeout=busy_seconds,
                check_same_thread=False,  # the pool sees to it that there is one at a time
                factory=sqlite3.Connection if keep_open else VisitingConnection,
            ),
            poolclass=sa.pool.QueuePool if keep_open else sa.pool.NullPool,
            json_serializer=encode_json,
        )
        sa.event.listen(self.engine, "connect", _configure_connection)

    @property
    def place(self) -> str:
        """The path."""
        return str(self._path)

    def exists(self) -> bool:
        """Whether the file is there."""
        return self._path.exists()

    def is_permanent_failure(self) -> bool:
        """A file is there, or never will be."""
        return True

    def create(self) -> None:
        """Make file and tables."""
        with suppress(OSError):  # which SQLite will say
            self._path.touch()
        with self.engine.begin() as connection:
            _complete(connection)

    def prepare(self) -> None:
        """Never make a file by looking; complete one that an earlier version made, once for each file."""
        try:
            file = self._path.stat().st_ino
        except OSError:
            raise StoreUnavailableError(f"there is no store {self._path}") from None
        if file != self._known_file:
            self.engine.dispose()  # kept connections lead to the file that lay here before
            with self.engine.begin() as connection:
                if sa.inspect(connection).has_table("runs"):
                    _complete(connection)
            self._known_file = file

    def explain(self, error: DBAPIError) -> Exception:
        """All that goes wrong here is the file's fault."""
        return StoreUnavailableError(f"store {self._path}: {error.orig}")

    def lock_run(self, connection: sa.Connection, run_id: str) -> None:  # noqa: ARG002
        """A file has one writer at a time, whatever the run."""
        if not _is_in_transaction(connection):
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    def begin_snapshot(self, connection: sa.Connection) -> None:
        """Python's driver begins a transaction by itself only before a write."""
        if not _is_in_transaction(connection):
            connection.exec_driver_sql("BEGIN")

    def notify(self, connection: sa.Connection, run_id: str) -> None:
        """The file itself shows it."""

    def change_stamp(self, run_id: str) -> tuple[int, int]:  # noqa: ARG002
        """Time and size of the write-ahead log, whatever the run."""
        try:
            status = _log_of(self._path).stat()
        except OSError:
            return (0, 0)
        return (status.st_mtime_ns, status.st_size)

    def close(self) -> None:
        """Give back kept connections."""
        self.engine.dispose()


class VisitingConnection(sqlite3.Connection):
    """A connection that comes and goes: it leaves the folder as it is where nobody else has the file open.

    SQLite makes two files beside the store for its first reader and removes them after its last, and whoever watches
    the folder for new records would have to read it again each time. A reader that may not write cannot remove them.
    """

    def __init__(self, address: str, *arguments: Any, **options: Any) -> None:
        super().__init__(address, *arguments, **options)
        self._path = Path(os.fsdecode(unquote_to_bytes(address.removeprefix("file:").rpartition("?")[0])))

    def close(self) -> None:
        """Close; what was written and is not in the store's file yet gets there."""
        if self._has_log():
            super().close()
            return
        address = _address(self._path, "ro")
        with suppress(sqlite3.Error), closing(sqlite3.connect(address, uri=True, timeout=0)) as last:
            last.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()  # from now on it counts as a reader
            super().close()
        super().close()

    def _has_log(self) -> bool:
        try:
            return _log_of(self._path).stat().st_size > 0
        except OSError:
            return False


def _address(path: Path, mode: str) -> str:
    """How SQLite is told to open the file, and never to make one."""
    return f"file:{quote(os.fsencode(path))}?mode={mode}"


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _complete(connection: sa.Connection) -> None:
    if is_incomplete(connection):
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # two processes must not both add a column
        complete(connection)


def _is_in_transaction(connection: sa.Connection) -> bool:
    return bool(connection.connection.dbapi_connection.in_transaction)  # type: ignore[union-attr]


def _configure_connection(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    # An acknowledged command must survive a power cut; NORMAL may lose the last transactions of a WAL.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()
