"""Transactions on the store, independent of the kind of database.

Every method of the store runs one short transaction. A locked, missing or unreachable database raises
`StoreUnavailableError`; the caller decides whether to retry.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from service.errors import UserError
from service.store.backends.base import Backend, StoreConflictError, StoreReadOnlyError, StoreUnavailableError
from service.store.backends.sqlite import SqliteFile

__all__ = ["Database", "StoreConflictError", "StoreReadOnlyError", "StoreUnavailableError"]

BUSY_SECONDS = 5.0


class Database:
    """Transactions on one database; safe to use from several threads.

    Every transaction raises `ValueError` for values that JSON cannot hold, and `StoreUnavailableError` for any other
    failure of the database.
    """

    def __init__(
        self,
        location: Path | str,
        *,
        create: bool = False,
        keep_open: bool = False,
        busy_seconds: float = BUSY_SECONDS,
    ) -> None:
        """Use the SQLite file at a path, or the PostgreSQL database at a `postgresql://` URL.

        With `create`, what the method does; raises `StoreUnavailableError`. With `keep_open`, the connection to a file
        stays open between transactions (the trainer); otherwise each transaction opens the file that is at the path
        then, even if a fresh start has replaced it (the API, the command line). `busy_seconds` is how long to wait for
        a lock. Raises `UserError` if the URL is invalid or the driver is not installed.
        """
        self._local = threading.local()
        self._backend = _backend(location, keep_open, busy_seconds)
        if create:
            self.create()

    def create(self) -> None:
        """Create the file and its tables; the tables of a server are created by the first transaction.

        Raises `StoreUnavailableError`.
        """
        with self._translated_errors():
            self._backend.create()

    @property
    def location(self) -> str:
        """The path or URL of the store, without credentials, for messages."""
        return self._backend.location

    def exists(self) -> bool:
        """Return False if the store is a file that does not exist, otherwise True."""
        return self._backend.exists()

    def is_permanent_failure(self) -> bool:
        """Return True if retrying a failed transaction is pointless: the store is a file, or its server responds."""
        return self._backend.is_permanent_failure()

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Open a transaction, which commits at the end or rolls back on an error; yields its connection.

        Inside `transaction_scope`, the scope's transaction is used.
        """
        scoped: sa.Connection | None = getattr(self._local, "connection", None)
        with self._translated_errors():
            if scoped is not None:
                yield scoped
            else:
                self._backend.prepare()
                with self._backend.engine.begin() as connection:
                    yield connection

    @contextmanager
    def change(self, run_id: str) -> Iterator[sa.Connection]:
        """Open a transaction whose commit is announced to the readers of this run."""
        with self.transaction() as connection:
            held = self._held_locks()
            if not held.get(run_id):
                self._backend.notify(connection, run_id)
                if run_id in held:
                    held[run_id] = True
            yield connection

    @contextmanager
    def run_transaction(self, run_id: str, *, announces: bool = True) -> Iterator[sa.Connection]:
        """Open a write transaction that holds the run's lock; with `announces`, its commit is announced as by `change`.

        Required for transactions that read before they write, and for all that append to the event log. A lock that
        this `transaction_scope` holds already is not taken again.
        """
        with self.transaction() as connection:
            held = self._held_locks()
            if run_id not in held:
                lock = self._backend.lock_run if announces else self._backend.lock_run_silently
                lock(connection, run_id)
                held[run_id] = announces
            elif announces and not held[run_id]:
                self._backend.notify(connection, run_id)
                held[run_id] = True
            yield connection

    @contextmanager
    def read_snapshot(self) -> Iterator[sa.Connection]:
        """Open a read transaction that sees one snapshot; inside `transaction_scope`, that transaction is used."""
        is_outermost = getattr(self._local, "connection", None) is None
        with self.transaction() as connection:
            if is_outermost:
                self._backend.begin_snapshot(connection)
            yield connection

    @contextmanager
    def unlocked_scope(self) -> Iterator[None]:
        """Run the queries inside over one connection that reads a file without locks, at a fraction of the cost.

        For a file that nobody writes. What was read is not valid if someone wrote meanwhile: the caller must check
        that. Raises `StoreUnavailableError`, also for a file of an earlier version.
        """
        outer = getattr(self._local, "connection", None)
        with self._translated_errors(), self._backend.connect_unlocked() as connection:
            self._local.connection = connection
            try:
                yield
            finally:
                self._local.connection = outer

    @contextmanager
    def transaction_scope(self) -> Iterator[None]:
        """Run all transactions that this thread opens inside as one, which is committed or rolled back as a whole."""
        if getattr(self._local, "connection", None) is not None:
            yield
            return
        with self.transaction() as connection:
            self._local.connection, self._local.held = connection, {}
            try:
                yield
            finally:
                self._local.connection = self._local.held = None

    @contextmanager
    def snapshot_scope(self) -> Iterator[None]:
        """Run all queries of this thread inside over one connection that sees one snapshot; for reading only."""
        if getattr(self._local, "connection", None) is not None:
            yield
            return
        with self.read_snapshot() as connection:
            self._local.connection, self._local.held = connection, {}
            try:
                yield
            finally:
                self._local.connection = self._local.held = None

    def close(self) -> None:
        """Close all open connections."""
        self._backend.close()

    @property
    def shows_writes_early(self) -> bool:
        """True if `change_stamp` may change shortly before the written data become visible."""
        return self._backend.shows_writes_early

    def change_stamp(self, run_id: str) -> tuple[int, int]:
        """Return a value that changes whenever a process writes to this run, and possibly to other runs."""
        return self._backend.change_stamp(run_id)

    def _held_locks(self) -> dict[str, bool]:
        """Return the runs whose locks the present `transaction_scope` holds, each with True if it was announced."""
        held: dict[str, bool] | None = getattr(self._local, "held", None)
        return {} if held is None else held

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise self._backend.translate_error(error) from error
        except StatementError as error:  # caused by the values, not by the store
            raise ValueError(str(error.orig)) from error
        except OverflowError as error:  # raised by SQLite's driver for an integer beyond 64 bits
            raise ValueError(f"not storable: {error}") from error
        except PoolTimeoutError as error:
            raise StoreUnavailableError(f"store {self.location}: all connections are busy") from error


def _backend(location: Path | str, keep_open: bool, busy_seconds: float) -> Backend:
    if isinstance(location, Path):
        return SqliteFile(location, keep_open=keep_open, busy_seconds=busy_seconds)
    try:
        from service.store.backends.postgres import PostgresServer  # its driver is optional
    except ModuleNotFoundError as error:
        raise UserError(
            f"STORE_URL names a PostgreSQL store, but {error.name} is not installed; "
            "install the extra leitstand[postgres]."
        ) from None
    return PostgresServer(location, keep_open=keep_open, busy_seconds=busy_seconds)
