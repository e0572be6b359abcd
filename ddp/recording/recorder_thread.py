"""Rank 0's recorder thread: runs its tasks ten times a second, and at once when woken, in a fixed order.

    records     written to files, whether or not the store is reachable
    store       queued writes, the latest snapshot, the heartbeat

While the store is unreachable, only records are written; the store is retried every RETRY_SECONDS.
"""

import logging
import time
from collections.abc import Callable

from service.background_thread import BackgroundThread, ErrorBoundary, OngoingProblem
from service.store.store import StoreUnavailableError

INTERVAL_SECONDS = 0.1
RETRY_SECONDS = 2.0

logger = logging.getLogger(__name__)


class RecorderThread:
    """Runs the recorder's tasks in order, and retries the store only every RETRY_SECONDS while it is unreachable."""

    def __init__(
        self,
        *,
        write_records: Callable[[float], None],
        write_store: Callable[[float], None],
        dropped: Callable[[], int],
        at_end: Callable[[], None],
    ) -> None:
        """`write_records` and `write_store` receive the monotonic time (s).

        `write_store` may raise `StoreUnavailableError`. `dropped()` returns the number of log points that were dropped;
        `at_end` is called last on the thread.
        """
        self.store_outages = 0
        self._write_records = write_records
        self._write_store = write_store
        self._dropped = dropped
        self._outage = OngoingProblem()
        self._retry_at = 0.0
        self._thread = BackgroundThread(
            "recorder",
            self._run_tasks,
            interval_seconds=INTERVAL_SECONDS,
            boundary=ErrorBoundary(logger),
            error_message="The recorder met an unexpected error; it goes on.",
            at_end=at_end,
        )

    def start(self) -> None:
        """Start the thread. Call it once."""
        self._thread.start()

    def close(self) -> None:
        """Call `at_end`, and end the thread."""
        self._thread.close()

    def wake(self) -> None:
        """Run the tasks now, or again right after the present run."""
        self._thread.wake()

    def retry_now(self) -> None:
        """Run the tasks now, without the delay after a failure. Call it on the thread only."""
        self._retry_at = 0.0
        self._run_tasks()

    def _run_tasks(self) -> None:
        now = time.monotonic()
        self._write_records(now)
        if now < self._retry_at:
            return
        try:
            self._write_store(now)
        except StoreUnavailableError as error:
            self._retry_at = now + RETRY_SECONDS
            if self._outage.begin():
                logger.warning("The store cannot be reached (%s); training goes on, and writing will catch up.", error)
                self.store_outages += 1
        else:
            if self._outage.end():
                logger.info("The store is back; %d log points were dropped so far.", self._dropped())
