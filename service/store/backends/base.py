"""What a database of the store must offer: one file on this machine (SQLite), or one server for many (PostgreSQL)."""

import json
from abc import ABC, abstractmethod
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError


class StoreUnavailableError(Exception):
    """The store cannot be used now: absent, locked too long, damaged, out of reach, or the disk is full.

    `will_pass` is true where a server that can be used otherwise has said so: others are in the way.
    """

    def __init__(self, sentence: str, *, will_pass: bool = False) -> None:
        super().__init__(sentence)
        self.will_pass = will_pass


def encode_json(value: Any) -> str:
    """The text of a JSON column. Raises `ValueError` for what strict JSON cannot hold."""
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"not storable: {error}") from None


class Backend(ABC):
    """One database and what is peculiar to its kind; safe to use from several threads."""

    engine: sa.Engine
    shows_writes_early: bool
    """Whether `change_stamp` differs a little before what was written can be read."""

    @property
    @abstractmethod
    def place(self) -> str:
        """Where it is, for sentences; never with a password."""

    @abstractmethod
    def exists(self) -> bool:
        """Whether there is anything to open; says nothing about whether it can be opened."""

    @abstractmethod
    def is_permanent_failure(self) -> bool:
        """Whether waiting would not help where it cannot be used: it is there, and something else is wrong."""

    @abstractmethod
    def create(self) -> None:
        """Make the database ready for use, or leave that to the first transaction where it lies elsewhere."""

    @abstractmethod
    def prepare(self) -> None:
        """What comes before a transaction. Raises `StoreUnavailableError` when there is no store."""

    @abstractmethod
    def explain(self, error: DBAPIError) -> Exception:
        """What to raise for an error of the driver: `StoreUnavailableError`, or `ValueError` when values are wrong."""

    @abstractmethod
    def lock_run(self, connection: sa.Connection, run_id: str) -> None:
        """Let nobody else take a turn on this run until the transaction ends, and announce it."""

    @abstractmethod
    def begin_snapshot(self, connection: sa.Connection) -> None:
        """Let all that is read in this transaction be of one moment; it is the first that happens there."""

    @abstractmethod
    def notify(self, connection: sa.Connection, run_id: str) -> None:
        """Tell who watches the store, once the transaction is kept, that something of this run has changed."""

    @abstractmethod
    def change_stamp(self, run_id: str) -> tuple[int, int]:
        """A value that differs once any process wrote to this run, and perhaps to others."""

    @abstractmethod
    def close(self) -> None:
        """Give back what is kept open."""
