"""Detects when alerts begin and end, independently of requests, and records it in the runs' `events` table."""

import logging
import time
from collections.abc import Callable, Iterable

from api.alerts.current import AlertLogs, free_bytes
from api.runs.registry import KnownRun, RunRegistry
from service.background_thread import BackgroundThread, ErrorBoundary
from service.run.state import RunState
from service.store.store import RunRow, StoreUnavailableError

CHECK_SECONDS = 2.0
SCAN_SECONDS = 10.0
"""Minimum interval between scans for new runs."""
SCAN_SHARE = 1 / 400
"""Maximum share of the time for scans: a room of very many runs is scanned more rarely."""
MAX_SILENT_SECONDS = 86400.0
"""A run without a heartbeat for this long is no longer monitored."""
MAX_ENDED_SECONDS = 3600.0
"""A run that has ended is monitored for this long after its last heartbeat."""
CLOCK_SECONDS = 3600.0
"""How far the clocks of trainers may be off."""
TICK_SECONDS = 0.2

logger = logging.getLogger(__name__)

OnChecked = Callable[[KnownRun, int], None]
"""Called with a run and the id of the last event about one of its alerts."""


class AlertMonitor:
    """Checks the alerts of all runs of the registry on one thread; its errors are logged and affect nothing else."""

    def __init__(
        self,
        registry: RunRegistry,
        alert_logs: AlertLogs,
        is_ending: Callable[[], bool],
        on_checked: OnChecked | None = None,
    ) -> None:
        """Create a monitor that ends once `is_ending()`; it calls `on_checked` after checking a run."""
        self._registry = registry
        self._alert_logs = alert_logs
        self._is_ending = is_ending
        self._on_checked = on_checked
        self._runs: dict[str, KnownRun] = {}
        self._next_scan_at = float("-inf")
        self._heard_since: float | None = None
        self._settled: dict[str, RunRow] = {}
        """Runs that had ended when they were checked: their alerts stay as they are until their row changes."""
        self._checked: set[str] = set()
        self._boundary = ErrorBoundary(logger, once=True)
        self._thread = BackgroundThread(
            "alerts",
            self.check,
            interval_seconds=CHECK_SECONDS,
            tick_seconds=TICK_SECONDS,
            runs_immediately=True,
            is_over=is_ending,
            boundary=self._boundary,
            error_message="The alerts cannot be checked; this is tried again.",
        )

    def start(self) -> None:
        """Start the monitor's thread."""
        self._thread.start()

    def check(self) -> None:
        """Check every monitored run once."""
        self._scan(time.monotonic())
        for known in self._runs.values():
            if self._is_ending():
                return
            settled = self._settled.get(known.row.id)
            if settled is not known.row and settled != known.row:
                self._check_run_safely(known)
        self._runs = self._watched(self._runs.values())

    def _scan(self, now: float) -> None:
        """Find the recent runs, and each other run once: its alert may have ended while no monitor was running."""
        if now < self._next_scan_at:
            return
        with self._boundary.guard("The runs cannot be listed, so new ones are not watched for alerts."):
            try:
                self._runs = self._watched(self._registry.runs(heard_since=self._heard_since))
                self._heard_since = time.time() - MAX_SILENT_SECONDS - CLOCK_SECONDS
            except StoreUnavailableError as error:
                logger.debug("Runs cannot be listed: %s", error)
        ended_at = time.monotonic()
        self._next_scan_at = ended_at + max(SCAN_SECONDS, (ended_at - now) / SCAN_SHARE)

    def _watched(self, runs: Iterable[KnownRun]) -> dict[str, KnownRun]:
        return {known.row.id: known for known in runs if known.row.id not in self._checked or _is_recent(known)}

    def _check_run_safely(self, known: KnownRun) -> None:
        """Check one run; a defect with it must not stop the others."""
        with self._boundary.guard("The alerts of run %s cannot be judged.", known.row.id):
            try:
                directory = known.cached_directory
                if directory is None or not directory.read_idle(lambda: self._check_run(known)):
                    self._check_run(known)
            except StoreUnavailableError as error:
                logger.debug("The alerts of run %s cannot be judged: %s", known.row.id, error)

    def _check_run(self, known: KnownRun) -> bool:
        """Check one run; returns True. Raises `StoreUnavailableError`."""
        alert_log = self._alert_logs.of(known.store, known.row.id)
        with known.store.transaction_scope():  # one connection for both
            run = known.store.runs.get(known.row.id)
            if run is None:  # archived
                return True
        now = known.store.runs.now(run)
        # A first look compares the clocks of two machines, which may disagree; the next one knows.
        is_uncertain = run.id not in self._checked and run.reported_state(now) is RunState.LOST
        only_ends = is_uncertain or not is_recent(run, now)
        directory = None if known.cached_directory is None else known.cached_directory.directory
        alert_log.record_changes(run, free_bytes(directory, run), now, only_ends=only_ends)
        self._checked.add(run.id)
        if run.state.has_ended and run == known.row:
            self._settled[run.id] = known.row  # the same object is listed again until the store is written
        if self._on_checked is not None:
            self._on_checked(known, alert_log.last_change_id)
        return True


def _is_recent(known: KnownRun) -> bool:
    return is_recent(known.row, known.store.runs.now(known.row))


def is_recent(run: RunRow, now: float) -> bool:
    """Whether an alert that begins now in this run is still relevant."""
    silent_seconds = now - run.heartbeat_at
    return silent_seconds < (MAX_ENDED_SECONDS if run.state.has_ended else MAX_SILENT_SECONDS)
