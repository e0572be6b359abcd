"""Store of one short status text per rank and of one order to all, without collectives: it works while those hang.

Each instance belongs to one thread. A lost connection raises `StatusStoreUnavailableError`; later calls reconnect.
"""

import os
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

RETRY_SECONDS = 30.0

T = TypeVar("T")


class StatusStoreUnavailableError(Exception):
    """The status store cannot be reached now."""


class StatusStore(Protocol):
    """Interface of the store of each rank's last text."""

    def publish(self, text: str) -> None:
        """Replace this rank's text. Raises `StatusStoreUnavailableError`."""

    def read_all(self) -> list[str | None]:
        """Return the texts by rank, None for a rank without one. Raises `StatusStoreUnavailableError`."""

    def give_order(self, text: str) -> None:
        """Replace the order to all ranks. Raises `StatusStoreUnavailableError`."""

    def read_order(self) -> str | None:
        """Return the order to all ranks, if one was given. Raises `StatusStoreUnavailableError`."""


class LocalStatusStore:
    """Status store of a world of one rank."""

    def __init__(self) -> None:
        self._text: str | None = None
        self._order: str | None = None

    def publish(self, text: str) -> None:
        """Replace this rank's text."""
        self._text = text

    def read_all(self) -> list[str | None]:
        """Return the text of the only rank."""
        return [self._text]

    def give_order(self, text: str) -> None:
        """Replace the order."""
        self._order = text

    def read_order(self) -> str | None:
        """Return the order."""
        return self._order


class StoreClient(Protocol):
    """Interface of the used part of torch's key-value store. All methods raise `RuntimeError`."""

    def set(self, key: str, value: str, /) -> None:
        """Replace the value of a key."""

    def check(self, keys: list[str], /) -> bool:
        """Return whether all keys have a value, without waiting."""

    def multi_get(self, keys: list[str], /) -> Sequence[bytes]:
        """Return the values of keys; wait for missing ones."""


class TcpStatusStore:
    """Status store in torch's key-value store, over a separate connection, since the ranks' main one may be blocked.

    Connects at first use. After a failure it does not retry for `RETRY_SECONDS`, because torch prints every failed
    attempt to the console. For the same reason it asks nothing once the launcher has ended, which served the store.
    """

    def __init__(self, connect: Callable[[], StoreClient], prefix: str, rank: int, size: int) -> None:
        """`prefix` separates the keys of this start from those of an earlier one in the same store."""
        self._connect = connect
        self._keys = [f"{prefix}/{number}" for number in range(size)]
        self._own_key = self._keys[rank]
        self._order_key = f"{prefix}/order"
        self._store: StoreClient | None = None
        self._present: set[str] = set()
        self._retry_at = 0.0
        self._failure = ""
        self._launcher = os.getppid()

    def publish(self, text: str) -> None:
        """Replace this rank's text. Raises `StatusStoreUnavailableError`."""
        self._run(lambda store: store.set(self._own_key, text))

    def read_all(self) -> list[str | None]:
        """Return the texts by rank. Raises `StatusStoreUnavailableError`."""
        return self._run(self._read)

    def give_order(self, text: str) -> None:
        """Replace the order to all ranks. Raises `StatusStoreUnavailableError`."""
        self._run(lambda store: store.set(self._order_key, text))

    def read_order(self) -> str | None:
        """Return the order to all ranks, if one was given. Raises `StatusStoreUnavailableError`."""

        def read(store: StoreClient) -> str | None:
            if not store.check([self._order_key]):
                return None
            return store.multi_get([self._order_key])[0].decode()

        return self._run(read)

    def _read(self, store: StoreClient) -> list[str | None]:
        self._present.update(key for key in self._keys if key not in self._present and store.check([key]))
        present = [key for key in self._keys if key in self._present]
        values = dict(zip(present, store.multi_get(present), strict=True)) if present else {}
        return [values[key].decode() if key in values else None for key in self._keys]

    def _run(self, operation: Callable[[StoreClient], T]) -> T:
        """Connect if necessary, and return `operation(store)`; a failure resets the connection."""
        if os.getppid() != self._launcher:
            raise StatusStoreUnavailableError("the launcher has ended")
        if self._store is None and time.monotonic() < self._retry_at:
            raise StatusStoreUnavailableError(self._failure)
        try:
            self._store = self._store or self._connect()
            return operation(self._store)
        except RuntimeError as error:
            self._store = None
            self._present.clear()
            self._retry_at = time.monotonic() + RETRY_SECONDS
            self._failure = str(error).partition("\n")[0]
            raise StatusStoreUnavailableError(self._failure) from error
