"""Where ranks post short texts for each other without a collective, so that it works while a collective hangs.

A board belongs to one thread. Losing it never raises anything but `StatusStoreGoneError`; a later question tries again.
"""

import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

RETRY_SECONDS = 30.0

T = TypeVar("T")


class StatusStoreGoneError(Exception):
    """The board cannot be reached now."""


class StatusStore(Protocol):
    """One text per rank, the last one that it posted."""

    def publish(self, text: str) -> None:
        """Replace this rank's text. Raises `StatusStoreGoneError`."""

    def read_all(self) -> list[str | None]:
        """The texts by rank, None of a rank that never posted. Raises `StatusStoreGoneError`."""


class LocalStatusStore:
    """The board of a world of one."""

    def __init__(self) -> None:
        self._text: str | None = None

    def publish(self, text: str) -> None:
        """Replace this rank's text."""
        self._text = text

    def read_all(self) -> list[str | None]:
        """The text of the only rank."""
        return [self._text]


class StoreClient(Protocol):
    """What is needed of a connection to torch's key-value store. Its errors are `RuntimeError`s."""

    def set(self, key: str, value: str, /) -> None:
        """Replace the value of a key."""

    def check(self, keys: list[str], /) -> bool:
        """Whether all keys have a value, without waiting for one."""

    def multi_get(self, keys: list[str], /) -> Sequence[bytes]:
        """The values of keys; waits for those that have none."""


class TcpStatusStore:
    """A board in torch's key-value store, over a connection of its own: the ranks' other one may be blocked.

    Connects when first asked. After a failure it does not try again for `RETRY_SECONDS`: torch writes every failed
    attempt to the console by itself.
    """

    def __init__(self, connect: Callable[[], StoreClient], prefix: str, rank: int, size: int) -> None:
        """`prefix` sets this start's keys apart from those of an earlier one in the same store."""
        self._connect = connect
        self._keys = [f"{prefix}/{number}" for number in range(size)]
        self._own_key = self._keys[rank]
        self._store: StoreClient | None = None
        self._present: set[str] = set()
        self._retry_at = 0.0
        self._failure = ""

    def publish(self, text: str) -> None:
        """Replace this rank's text. Raises `StatusStoreGoneError`."""
        self._ask(lambda store: store.set(self._own_key, text))

    def read_all(self) -> list[str | None]:
        """The texts by rank. Raises `StatusStoreGoneError`."""
        return self._ask(self._read)

    def _read(self, store: StoreClient) -> list[str | None]:
        self._present.update(key for key in self._keys if key not in self._present and store.check([key]))
        present = [key for key in self._keys if key in self._present]
        found = dict(zip(present, store.multi_get(present), strict=True)) if present else {}
        return [found[key].decode() if key in found else None for key in self._keys]

    def _ask(self, question: Callable[[StoreClient], T]) -> T:
        """The answer of the store, connected if it is not yet; after a failure all is as before the first question."""
        if self._store is None and time.monotonic() < self._retry_at:
            raise StatusStoreGoneError(self._failure)
        try:
            self._store = self._store or self._connect()
            return question(self._store)
        except RuntimeError as error:
            self._store = None
            self._present.clear()
            self._retry_at = time.monotonic() + RETRY_SECONDS
            self._failure = str(error).partition("\n")[0]
            raise StatusStoreGoneError(self._failure) from error
