"""The store's transactions, whichever database holds it.

Every method of the store is one short transaction; a locked, lost or unreachable database raises
`StoreUnavailableError`, and callers decide what waits.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from service.errors import UserError
from service.store.backends.base import Backend, StoreUnavailableError
from service.store.backends.sqlite import SqliteFile

__all__ = ["Database", "StoreUnavailableError"]

BUSY_SECONDS = 5.0


class Database:
    """Transactions on one database; safe to use from several threads.

    Values that JSON cannot hold raise `ValueError`, everything else that goes wrong `StoreUnavailableError`.
    """

    def __init__(
        self,
        location: Path | str,
        *,
        create: bool = False,
        keep_open: bool = False,
        busy_seconds: float = BUSY_SECONDS,
    ) -> None:
        """Connect to the SQLite file at a path, or to the PostgreSQL server of a `postgresql://` text.

        With `create`, make file and tables; raises `StoreUnavailableError`. A server is first asked at the first
        transaction, and tables are made there by whoever comes first. `keep_open` keeps the connection to a file
        between transactions (the trainer); otherwise each one opens the file that lies there now, also after a fresh
        start replaced it (the API, the command line). Raises `UserError` for a text that names no server, or when
        the driver is not installed.
        """
        self._held = threading.local()
        self._backend = _backend(location, keep_open, busy_seconds)
        if create:
            with self._explained():
                self._backend.create()

    @property
    def place(self) -> str:
        """Where the store is, for sentences; never with a password."""
        return self._backend.place

    def exists(self) -> bool:
        """Whether there is a store to ask; false only of a file that is not there."""
        return self._backend.exists()

    def is_permanent_failure(self) -> bool:
        """Whether waiting would not help where the store cannot be used: a server is there, or it is a file."""
        return self._backend.is_permanent_failure()

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """A connection for one transaction: all of it is kept, or nothing. Within `together`, a part of that one."""
        held: sa.Connection | None = getattr(self._held, "connection", None)
        with self._explained():
            if held is not None:
                yield held
            else:
                self._backend.prepare()
                with self._backend.engine.begin() as connection:
                    yield connection

    @contextmanager
    def change(self, run_id: str) -> Iterator[sa.Connection]:
        """A transaction of whose end those are told who watch this run."""
        with self.transaction() as connection:
            self._backend.notify(connection, run_id)
            yield connection

    @contextmanager
    def run_transaction(self, run_id: str) -> Iterator[sa.Connection]:
        """A change that nobody else's turn on the same run overlaps, from its first statement to its end.

        What reads before it writes, and the journal, is written in turns.
        """
        with self.transaction() as connection:
            self._backend.lock_run(connection, run_id)
            yield connection

    @contextmanager
    def read_snapshot(self) -> Iterator[sa.Connection]:
        """A transaction for reading, all of it as of one moment. Within `together`, a part of that one."""
        is_alone = getattr(self._held, "connection", None) is None
        with self.transaction() as connection:
            if is_alone:
                self._backend.begin_snapshot(connection)
            yield connection

    @contextmanager
    def transaction_scope(self) -> Iterator[None]:
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
        self._backend.close()

    @property
    def shows_writes_early(self) -> bool:
        """Whether `change_stamp` differs a little before what was written can be read."""
        return self._backend.shows_writes_early

    def change_stamp(self, run_id: str) -> tuple[int, int]:
        """A value that differs once any process writes to this run, and perhaps to others."""
        return self._backend.change_stamp(run_id)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise self._backend.explain(error) from error
        except StatementError as error:  # the values are at fault, not the store
            raise ValueError(str(error.orig)) from error
        except OverflowError as error:  # from SQLite's driver, of a number beyond 64 bits
            raise ValueError(f"not storable: {error}") from error
        except PoolTimeoutError as error:
            raise StoreUnavailableError(f"store {self.place}: all connections are busy") from error


def _backend(location: Path | str, keep_open: bool, busy_seconds: float) -> Backend:
    if isinstance(location, Path):
        return SqliteFile(location, keep_open=keep_open, busy_seconds=busy_seconds)
    try:
        from service.store.backends.postgres import PostgresServer  # only who has such a store needs its driver
    except ModuleNotFoundError as error:
        raise UserError(
            f"STORE_URL names a PostgreSQL store, but {error.name} is not installed; "
            "install the extra leitstand[postgres]."
        ) from None
    return PostgresServer(location, keep_open=keep_open, busy_seconds=busy_seconds)
