"""Receives PostgreSQL notifications about changed runs on a background thread, so that readers never block.

A broken connection is reopened; because notifications may be lost meanwhile, reopening counts as a change of every run.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import psycopg

CHANNEL = "leitstand"
RETRY_SECONDS = 1.0
POLL_SECONDS = 0.5
"""Interval at which the thread checks whether it must stop."""
IDLE_SECONDS = 30.0
"""Time without a call of `stamp` after which the connection is closed until the next call."""

logger = logging.getLogger(__name__)

Connection = psycopg.Connection[Any]


class NotifyListener:
    """Counter of the notifications for each run; the payload of a notification is the run's id."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        """Store `connect`, which opens a connection in autocommit mode and may raise `psycopg.Error`."""
        self._connect = connect
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._used_at = 0.0
        self._connections = 0
        self._notifications: Counter[str] = Counter()

    def stamp(self, run_id: str) -> tuple[int, int]:
        """Return a value that changes after a notification for this run; the first call starts the thread."""
        self._used_at = time.monotonic()
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._stop.clear()
                self._thread = threading.Thread(target=self._run, name="notices", daemon=True)
                self._thread.start()
        return self._connections, self._notifications[run_id]

    def close(self) -> None:
        """Stop the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(2 * POLL_SECONDS)

    def _run(self) -> None:
        while not self._must_stop():
            try:
                with self._connect() as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    self._connections += 1
                    self._receive(connection)
            except psycopg.Error as error:
                logger.debug("The store's notices cannot be heard: %s", type(error).__name__)
                self._stop.wait(RETRY_SECONDS)

    def _receive(self, connection: Connection) -> None:
        while not self._must_stop():
            for notification in connection.notifies(timeout=POLL_SECONDS):
                self._notifications[notification.payload] += 1

    def _must_stop(self) -> bool:
        return self._stop.is_set() or time.monotonic() > self._used_at + IDLE_SECONDS
