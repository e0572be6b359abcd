"""What waits to be written to the store: filled by any thread, written by the recorder's, many things at a time."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from service.store import Store

LOG_POINTS_KEPT = 10_000
WRITINGS_TOGETHER = 100

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Writing:
    apply: Callable[[Store], object]
    is_log_point: bool


class StoreQueue:
    """Writings in their order. Only log points are ever dropped, beyond a bound, and counted in `dropped`."""

    def __init__(self, store: Store) -> None:
        self.dropped = 0
        self._store = store
        self._lock = threading.Lock()
        self._writings: deque[_Writing] = deque()
        self._log_points = 0

    def __len__(self) -> int:
        return len(self._writings)

    def add(self, apply: Callable[[Store], object], *, is_log_point: bool = False) -> None:
        """Queue one thing to do with the store."""
        with self._lock:
            if is_log_point and self._log_points >= LOG_POINTS_KEPT:
                self.dropped += 1
                return
            self._log_points += is_log_point
            self._writings.append(_Writing(apply, is_log_point))

    def write(self) -> None:
        """Write what waits, many things in one transaction: each costs a wait for the disk.

        Raises `StoreUnavailableError`; what was not written stays.
        """
        while self._writings:
            with self._lock:
                together = list(islice(self._writings, WRITINGS_TOGETHER))
            with self._store.together():
                for writing in together:
                    self._apply(writing)
            with self._lock:
                for writing in together:
                    self._writings.popleft()
                    self._log_points -= writing.is_log_point

    def _apply(self, writing: _Writing) -> None:
        try:
            writing.apply(self._store)
        except ValueError:
            logger.exception("One writing to the store is not storable and was dropped.")
