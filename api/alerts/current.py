"""The alerts of a run that are active now, evaluated from its row and its event journal."""

import shutil
import threading
from collections import OrderedDict

from flask import Flask

from api.runs.context import RunContext
from service.alerts.log import AlertLog
from service.alerts.rules import AlertVerdict
from service.run.directory import RunDirectory
from service.store.store import RunRow, Store

EXTENSION = "leitstand.alerts"
MOST_BOOKS = 4096
"""Runs of which it is kept how far their journal was read."""


class AlertLogs:
    """The books of the runs that were asked for last; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._books: OrderedDict[str, AlertLog] = OrderedDict()

    def of(self, store: Store, run_id: str) -> AlertLog:
        """The book of a run in this store."""
        with self._lock:
            book = self._books.pop(run_id, None)
            if book is None or book.store is not store:
                book = AlertLog(store, run_id)
            self._books[run_id] = book
            while len(self._books) > MOST_BOOKS:
                self._books.popitem(last=False)
            return book


def register(app: Flask) -> None:
    """Let `app` judge alerts."""
    app.extensions[EXTENSION] = AlertLogs()


def alert_logs_of(app: Flask) -> AlertLogs:
    """What `register` made."""
    books = app.extensions[EXTENSION]
    assert isinstance(books, AlertLogs)
    return books


def current_alerts(books: AlertLogs, reader: RunContext, run: RunRow, now: float) -> AlertVerdict:
    """Which alerts are on at the Unix time `now`. Raises `StoreUnavailableError`."""
    return books.of(reader.store, run.id).current(run, free_bytes(reader.directory, run), now)


def free_bytes(directory: RunDirectory | None, run: RunRow) -> int | None:
    """Room on the disk of the run directory as it is now, or where it is elsewhere as the trainer last saw it."""
    if directory is None:
        return (run.facts or {}).get("disk_free_bytes")
    try:
        return shutil.disk_usage(directory.root).free
    except OSError:
        return None
