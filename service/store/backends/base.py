"""Interface of a database of the store: a file on this machine (SQLite), or a server for many runs (PostgreSQL)."""

import json
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError


class StoreUnavailableError(Exception):
    """A store that cannot be used now: missing, locked for too long, damaged, unreachable, or its disk is full.

    `is_transient` is True if a reachable server reported a condition that ends by itself, such as a lock conflict.
    """

    def __init__(self, message: str, *, is_transient: bool = False) -> None:
        super().__init__(message)
        self.is_transient = is_transient


class StoreReadOnlyError(StoreUnavailableError):
    """A change of a store that this process may only read; what is in it can be read on."""


class StoreConflictError(StoreUnavailableError):
    """A change that the store refuses because it contradicts what is there; trying again does not help for ever."""


def encode_json(value: Any) -> str:
    """Return `value` as the text of a JSON column; raises `ValueError` for values that strict JSON cannot hold."""
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"not storable: {error}") from None


class Backend(ABC):
    """One database, accessed in the way that its kind requires; safe to use from several threads."""

    engine: sa.Engine
    shows_writes_early: bool
    """True if `change_stamp` may change shortly before the written data become visible."""

    @property
    @abstractmethod
    def location(self) -> str:
        """The path or URL of the database, without credentials, for messages."""

    @abstractmethod
    def exists(self) -> bool:
        """Return True if there is a database to open, whether or not opening succeeds."""

    @abstractmethod
    def is_permanent_failure(self) -> bool:
        """Return True if retrying a failed transaction is pointless: the database is reachable, but cannot be used."""

    @abstractmethod
    def create(self) -> None:
        """Create the database, or leave that to the first transaction if it is on a server.

        Raises `StoreUnavailableError` or `DBAPIError`.
        """

    @abstractmethod
    def prepare(self) -> None:
        """Check and upgrade the database before a transaction; raises `StoreUnavailableError` if it does not exist."""

    @abstractmethod
    def translate_error(self, error: DBAPIError) -> Exception:
        """Return the exception to raise for a driver error: `ValueError` if values are invalid, else
        `StoreUnavailableError`.
        """

    @abstractmethod
    def lock_run(self, connection: sa.Connection, run_id: str) -> None:
        """Take the run's lock until the transaction ends, and announce its commit to the readers of the run."""

    @abstractmethod
    def lock_run_silently(self, connection: sa.Connection, run_id: str) -> None:
        """Take the run's lock until the transaction ends."""

    @abstractmethod
    def begin_snapshot(self, connection: sa.Connection) -> None:
        """Make the transaction read from one snapshot; must be its first statement."""

    def connect_unlocked(self) -> AbstractContextManager[sa.Connection]:
        """Open a connection that reads a file as it is, without locks and without files beside it.

        Raises `StoreUnavailableError` if the database is not a file.
        """
        raise StoreUnavailableError(f"{self.location} is no file")

    @abstractmethod
    def notify(self, connection: sa.Connection, run_id: str) -> None:
        """Announce to the readers of this run, once the transaction commits, that the run has changed."""

    @abstractmethod
    def change_stamp(self, run_id: str) -> tuple[int, int]:
        """Return a value that changes whenever a process writes to this run, and possibly to other runs."""

    @abstractmethod
    def close(self) -> None:
        """Close all open connections."""
