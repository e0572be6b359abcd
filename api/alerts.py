"""`/alerts`: the alerts of a run that are on now: judged anew for every request, from its row and its journal."""

import shutil
import threading
import time
from collections import OrderedDict

from flask import Blueprint, Flask, current_app

from api.contract import Answer, Scope, operation
from api.reader import Reader, current_reader
from service.alert_book import AlertBook
from service.alerts import Judgement
from service.answers import AlertList
from service.run_directory import RunDirectory
from service.store import RunRow, Store

EXTENSION = "leitstand.alerts"
MOST_BOOKS = 4096
"""Runs of which it is kept how far their journal was read."""

blueprint = Blueprint("alerts", __name__)


class AlertBooks:
    """The books of the runs that were asked for last; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._books: OrderedDict[str, AlertBook] = OrderedDict()

    def of(self, store: Store, run_id: str) -> AlertBook:
        """The book of a run in this store."""
        with self._lock:
            book = self._books.pop(run_id, None)
            if book is None or book.store is not store:
                book = AlertBook(store, run_id)
            self._books[run_id] = book
            while len(self._books) > MOST_BOOKS:
                self._books.popitem(last=False)
            return book


def register(app: Flask) -> None:
    """Let `app` judge alerts."""
    app.extensions[EXTENSION] = AlertBooks()


def books_of(app: Flask) -> AlertBooks:
    """What `register` made."""
    books = app.extensions[EXTENSION]
    assert isinstance(books, AlertBooks)
    return books


@blueprint.get("/alerts")
@operation(
    Scope.READ, answers=[Answer(AlertList, "the alerts, in a fixed order")], problems=["no-run", "storage-unavailable"]
)
def list_all() -> AlertList:
    """List the alerts that are on now."""
    reader = current_reader()
    with reader.together():
        run = reader.run()
        judged = judged_alerts(books_of(current_app), reader, run, time.time())
    alerts = judged.on.values()
    return {
        "run_id": run.id,
        "alerts": [{"name": alert.name, "since": alert.since, "sentence": alert.sentence} for alert in alerts],
    }


def judged_alerts(books: AlertBooks, reader: Reader, run: RunRow, now: float) -> Judgement:
    """Which alerts are on at the Unix time `now`. Raises `StoreUnavailableError`."""
    return books.of(reader.store, run.id).present(run, free_bytes(reader.directory, run), now)


def free_bytes(directory: RunDirectory | None, run: RunRow) -> int | None:
    """Room on the disk of the run directory as it is now, or where it is elsewhere as the trainer last saw it."""
    if directory is None:
        return (run.facts or {}).get("disk_free_bytes")
    try:
        return shutil.disk_usage(directory.root).free
    except OSError:
        return None
