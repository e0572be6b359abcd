"""Hears from a PostgreSQL server that a run has changed, on a thread of its own: who asks is never kept waiting.

A connection that breaks is made anew; what was missed meanwhile counts as one change of every run.
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
HEAR_SECONDS = 0.5
"""How soon the thread sees that it is to end."""
IDLE_SECONDS = 30.0
"""Nobody asks for so long: the connection is given back until somebody does."""

logger = logging.getLogger(__name__)

Connection = psycopg.Connection[Any]


class NotifyListener:
    """What was heard on the channel, counted by run. A notice's text is the id of the run that it is about."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        """`connect` makes a connection that commits by itself; raises `psycopg.Error`."""
        self._connect = connect
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ending = threading.Event()
        self._asked_at = 0.0
        self._connections = 0
        self._heard: Counter[str] = Counter()

    def stamp(self, run_id: str) -> tuple[int, int]:
        """A value that differs after a notice of this run; the first question begins to listen."""
        self._asked_at = time.monotonic()
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._ending.clear()
                self._thread = threading.Thread(target=self._run, name="notices", daemon=True)
                self._thread.start()
        return self._connections, self._heard[run_id]

    def close(self) -> None:
        """Listen no more."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(2 * HEAR_SECONDS)

    def _run(self) -> None:
        while not self._is_over():
            try:
                with self._connect() as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    self._connections += 1
                    self._hear(connection)
            except psycopg.Error as error:
                logger.debug("The store's notices cannot be heard: %s", type(error).__name__)
                self._ending.wait(RETRY_SECONDS)

    def _hear(self, connection: Connection) -> None:
        while not self._is_over():
            for notice in connection.notifies(timeout=HEAR_SECONDS):
                self._heard[notice.payload] += 1

    def _is_over(self) -> bool:
        return self._ending.is_set() or time.monotonic() > self._asked_at + IDLE_SECONDS
