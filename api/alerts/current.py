"""The active alerts of a run, evaluated from its row and its events."""

import shutil
import threading
from collections import OrderedDict

from flask import Flask

from api.runs.context import RunContext
from service.alerts.log import AlertLog, alert_input_of
from service.alerts.rules import AlertVerdict, evaluate
from service.run.directory import RunDirectory
from service.store.store import RunRow, Store

EXTENSION = "leitstand.alerts"
MAX_ALERT_LOGS = 4096
"""Number of runs whose alert log is kept in memory."""


class AlertLogs:
    """Alert logs of the most recently used runs; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._alert_logs: OrderedDict[str, AlertLog] = OrderedDict()

    def of(self, store: Store, run_id: str) -> AlertLog:
        """Return the alert log of a run in this store."""
        with self._lock:
            alert_log = self._alert_logs.pop(run_id, None)
            if alert_log is None or alert_log.store is not store:
                alert_log = AlertLog(store, run_id)
            self._alert_logs[run_id] = alert_log
            while len(self._alert_logs) > MAX_ALERT_LOGS:
                self._alert_logs.popitem(last=False)
            return alert_log


def register(app: Flask) -> None:
    """Give `app` its alert logs."""
    app.extensions[EXTENSION] = AlertLogs()


def alert_logs_of(app: Flask) -> AlertLogs:
    """Return the alert logs that `register` gave to `app`."""
    alert_logs = app.extensions[EXTENSION]
    assert isinstance(alert_logs, AlertLogs)
    return alert_logs


def current_alerts(alert_logs: AlertLogs, context: RunContext, run: RunRow, now: float) -> AlertVerdict:
    """Evaluate the alerts of a run at the Unix time `now`; raises `StoreUnavailableError`."""
    free = free_bytes(context.directory, run)
    if not context.store.exists():  # the run's directory has vanished, and with it the log of its alerts
        return evaluate(alert_input_of(run, free, now), AlertVerdict())
    return alert_logs.of(context.store, run.id).current(run, free, now)


def free_bytes(directory: RunDirectory | None, run: RunRow) -> int | None:
    """Return the free bytes on the disk of the run directory; None if unknown.

    If the directory is not on this machine, this is the value that the trainer last reported.
    """
    if directory is None:
        return (run.facts or {}).get("disk_free_bytes")
    try:
        return shutil.disk_usage(directory.root).free
    except OSError:
        return None
