"""Rank 0's recorder thread: every 20 ms each duty gets its turn, in a fixed order.

    records     into files, whether or not the store can be reached
    store       what waits for it, the latest snapshot, the heartbeat
    commands    looked for, until the thread is closed

While the store cannot be reached, only records are written; the store is tried again every RETRY_SECONDS.
"""

import logging
import time
from collections.abc import Callable

from service.background_thread import BackgroundThread, ErrorBoundary, OngoingProblem
from service.store.store import StoreUnavailableError

POLL_SECONDS = 0.02
RETRY_SECONDS = 2.0

logger = logging.getLogger(__name__)


class RecorderThread:
    """Calls the duties of the recorder thread in turn, and spares the store while it cannot be reached."""

    def __init__(
        self,
        *,
        write_records: Callable[[float], None],
        write_store: Callable[[float], None],
        poll_commands: Callable[[], None],
        dropped: Callable[[], int],
        at_end: Callable[[], None],
    ) -> None:
        """`write_records` and `write_store` get the monotonic time. The latter and `poll_commands` need the store.

        `dropped` counts the log points that an outage has cost; `at_end` is the thread's last act.
        """
        self.store_outages = 0
        self._write_records = write_records
        self._write_store = write_store
        self._poll_commands = poll_commands
        self._dropped = dropped
        self._outage = OngoingProblem()
        self._retry_at = 0.0
        self._thread = BackgroundThread(
            "recorder",
            self._turn,
            interval_seconds=POLL_SECONDS,
            boundary=ErrorBoundary(logger),
            error_message="The recorder met an unexpected error; it goes on.",
            at_end=at_end,
        )

    def start(self) -> None:
        """Begin; to be called once."""
        self._thread.start()

    def close(self) -> None:
        """Look for no more commands, do the last act, and end."""
        self._thread.close()

    def retry_now(self) -> None:
        """Make a turn at once, whatever failed before; only for the thread itself."""
        self._retry_at = 0.0
        self._turn()

    def _turn(self) -> None:
        now = time.monotonic()
        self._write_records(now)
        if now < self._retry_at:
            return
        try:
            self._write_store(now)
            if not self._thread.is_closing:
                self._poll_commands()
        except StoreUnavailableError as error:
            self._retry_at = now + RETRY_SECONDS
            if self._outage.begin():
                logger.warning("The store cannot be reached (%s); training goes on, and writing will catch up.", error)
                self.store_outages += 1
        else:
            if self._outage.end():
                logger.info("The store is back; %d log points were dropped so far.", self._dropped())
