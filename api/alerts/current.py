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
MAX_BOOKS = 4096
"""Runs of which it is kept how far their journal was read."""


class AlertLogs:
    """The books of the runs that were asked for last; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._alert_logs: OrderedDict[str, AlertLog] = OrderedDict()

    def of(self, store: Store, run_id: str) -> AlertLog:
        """The book of a run in this store."""
        with self._lock:
            alert_log = self._alert_logs.pop(run_id, None)
            if alert_log is None or alert_log.store is not store:
                alert_log = AlertLog(store, run_id)
            self._alert_logs[run_id] = alert_log
            while len(self._alert_logs) > MAX_BOOKS:
                self._alert_logs.popitem(last=False)
            return alert_log


def register(app: Flask) -> None:
    """Let `app` judge alerts."""
    app.extensions[EXTENSION] = AlertLogs()


def alert_logs_of(app: Flask) -> AlertLogs:
    """What `register` made."""
    alert_logs = app.extensions[EXTENSION]
    assert isinstance(alert_logs, AlertLogs)
    return alert_logs


def current_alerts(alert_logs: AlertLogs, context: RunContext, run: RunRow, now: float) -> AlertVerdict:
    """Which alerts are on at the Unix time `now`. Raises `StoreUnavailableError`."""
    return alert_logs.of(context.store, run.id).current(run, free_bytes(context.directory, run), now)


def free_bytes(directory: RunDirectory | None, run: RunRow) -> int | None:
    """Room on the disk of the run directory as it is now, or where it is elsewhere as the trainer last saw it."""
    if directory is None:
        return (run.facts or {}).get("disk_free_bytes")
    try:
        return shutil.disk_usage(directory.root).free
    except OSError:
        return None
