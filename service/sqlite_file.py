"""The store as one file in the run directory: SQLite in WAL mode. One writer never blocks readers."""

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from service.backend import Backend, StoreUnavailableError, encode_json
from service.schema import complete, is_incomplete


class SqliteFile(Backend):
    """The file at one path, also after a fresh start has put another in its place."""

    shows_writes_early = True

    def __init__(self, path: Path, *, keep_open: bool, busy_seconds: float) -> None:
        """`keep_open` keeps connections between transactions; otherwise each opens the file that lies there then."""
        self._path = path
        self._known_file: int | None = None
        self.engine = sa.create_engine(
            f"sqlite:///{path}",
            poolclass=sa.pool.QueuePool if keep_open else sa.pool.NullPool,
            connect_args={"timeout": busy_seconds},
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

    def answers(self) -> bool:
        """A file is there, or never will be."""
        return True

    def create(self) -> None:
        """Make file and tables."""
        with self.engine.begin() as connection:
            _complete(connection)

    def prepare(self) -> None:
        """Never make a file by looking; complete one that an earlier version made, once for each file."""
        try:
            file = self._path.stat().st_ino
        except OSError:
            raise StoreUnavailableError(f"there is no store {self._path}") from None
        if file != self._known_file:
            with self.engine.begin() as connection:
                if sa.inspect(connection).has_table("runs"):
                    _complete(connection)
            self._known_file = file

    def explain(self, error: DBAPIError) -> Exception:
        """All that goes wrong here is the file's fault."""
        return StoreUnavailableError(f"store {self._path}: {error.orig}")

    def take_turn(self, connection: sa.Connection, run_id: str) -> None:  # noqa: ARG002
        """A file has one writer at a time, whatever the run."""
        if not _is_in_transaction(connection):
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    def hold_still(self, connection: sa.Connection) -> None:
        """Python's driver begins a transaction by itself only before a write."""
        if not _is_in_transaction(connection):
            connection.exec_driver_sql("BEGIN")

    def announce(self, connection: sa.Connection, run_id: str) -> None:
        """The file itself shows it."""

    def change_stamp(self, run_id: str | None) -> tuple[int, int]:  # noqa: ARG002
        """Time and size of the write-ahead log, whatever the run."""
        try:
            status = self._path.with_name(f"{self._path.name}-wal").stat()
        except OSError:
            return (0, 0)
        return (status.st_mtime_ns, status.st_size)

    def close(self) -> None:
        """Give back kept connections."""
        self.engine.dispose()


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
