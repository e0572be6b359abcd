"""The store's file: one SQLite database in WAL mode, its transactions, and what an earlier version's file lacks.

One writer never blocks readers. Every method of the store is one short transaction; a locked or lost database raises
`StoreUnavailableError`, and callers decide what waits.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.schema import CreateColumn

from service.tables import metadata

BUSY_SECONDS = 5.0


class StoreUnavailableError(Exception):
    """The store cannot be used now: absent, locked too long, damaged, or the disk is full."""


class Database:
    """Transactions on one file; safe to use from several threads.

    Values that JSON cannot hold raise `ValueError`, everything else that goes wrong `StoreUnavailableError`.
    """

    def __init__(
        self, path: Path, *, create: bool = False, keep_open: bool = False, busy_seconds: float = BUSY_SECONDS
    ) -> None:
        """Connect to the store at `path`; with `create`, make file and tables. Raises `StoreUnavailableError`.

        `keep_open` keeps the connection between transactions (the trainer); otherwise each one opens the file that
        lies there now, also after a fresh start replaced it (the API, the command line).
        """
        self._path = path
        self._held = threading.local()
        self._known_file: int | None = None
        pool = sa.pool.QueuePool if keep_open else sa.pool.NullPool
        self._engine = sa.create_engine(f"sqlite:///{path}", poolclass=pool, connect_args={"timeout": busy_seconds})
        sa.event.listen(self._engine, "connect", _configure_connection)
        if create:
            with _as_unavailable(path), self._engine.begin() as connection:
                _complete(connection)

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """A connection for one transaction: all of it is kept, or nothing. Within `together`, a part of that one."""
        held: sa.Connection | None = getattr(self._held, "connection", None)
        with _as_unavailable(self._path):
            if held is not None:
                yield held
            else:
                self._look_at_file()
                with self._engine.begin() as connection:
                    yield connection

    @contextmanager
    def together(self) -> Iterator[None]:
        """Make one transaction of everything this thread does within: all of it is kept, or nothing."""
        outer = getattr(self._held, "connection", None)
        with self.transaction() as connection:
            self._held.connection = connection
            try:
                yield
            finally:
                self._held.connection = outer

    def close(self) -> None:
        """Give back kept connections."""
        self._engine.dispose()

    def change_stamp(self) -> tuple[int, int]:
        """A value that differs once any process writes to the store, a little before what it wrote can be read."""
        try:
            status = self._path.with_name(f"{self._path.name}-wal").stat()
        except OSError:
            return (0, 0)
        return (status.st_mtime_ns, status.st_size)

    def _look_at_file(self) -> None:
        """Never make a file by looking; complete one that an earlier version made, once for each file."""
        try:
            file = self._path.stat().st_ino
        except OSError:
            raise StoreUnavailableError(f"there is no store {self._path}") from None
        if file != self._known_file:
            with self._engine.begin() as connection:
                if sa.inspect(connection).has_table("runs"):
                    _complete(connection)
            self._known_file = file


@contextmanager
def _as_unavailable(path: Path) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise StoreUnavailableError(f"store {path}: {error.orig}") from error
    except StatementError as error:  # the values are at fault, not the store
        raise ValueError(f"not storable: {error.orig}") from error


def _complete(connection: sa.Connection) -> None:
    """Add the tables and the columns that this version has and the file lacks; columns added later are nullable."""
    if not _lacks(connection):
        return
    connection.exec_driver_sql("BEGIN IMMEDIATE")  # two processes must not both add a column
    metadata.create_all(connection)
    quoted = connection.dialect.identifier_preparer.format_table
    for column in _missing_columns(connection):
        definition = CreateColumn(column).compile(dialect=connection.dialect)
        connection.exec_driver_sql(f"ALTER TABLE {quoted(column.table)} ADD COLUMN {definition}")


def _lacks(connection: sa.Connection) -> bool:
    present = sa.inspect(connection).get_table_names()
    return not set(metadata.tables) <= set(present) or bool(_missing_columns(connection))


def _missing_columns(connection: sa.Connection) -> list[sa.Column[Any]]:
    """The columns that tables in the file lack."""
    inspector = sa.inspect(connection)
    present = {name: {item["name"] for item in inspector.get_columns(name)} for name in inspector.get_table_names()}
    tables = [table for table in metadata.sorted_tables if table.name in present]
    return [column for table in tables for column in table.columns if column.name not in present[table.name]]


def _configure_connection(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    # An acknowledged command must survive a power cut; NORMAL may lose the last transactions of a WAL.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()
