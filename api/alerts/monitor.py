"""Notices when alerts begin and end, with nobody looking, and writes it into the journals of the runs."""

import logging
import threading
import time
from collections.abc import Callable, Iterable

from api.alerts.current import AlertLogs, free_bytes
from api.runs.registry import KnownRun, RunRegistry
from service.store.store import RunRow, StoreUnavailableError

LOOK_SECONDS = 2.0
SURVEY_SECONDS = 10.0
"""How often new runs are looked for."""
NEWS_SECONDS = 86400.0
"""A run without a sign of life for so long is no news."""
ENDED_SECONDS = 3600.0
"""One that has ended is watched for so long."""
TICK_SECONDS = 0.2

logger = logging.getLogger(__name__)

OnChecked = Callable[[KnownRun, int], None]
"""Gets a run, and the number of the last event that told of one of its alerts."""


class AlertMonitor:
    """One thread for all runs of a room; nothing that happens to it disturbs anything else."""

    def __init__(
        self, registry: RunRegistry, alert_logs: AlertLogs, is_ending: Callable[[], bool], told: OnChecked | None = None
    ) -> None:
        """It ends once `is_ending` is true; `told` hears of every run that was looked at."""
        self._registry = registry
        self._alert_logs = alert_logs
        self._is_ending = is_ending
        self._told = told
        self._runs: dict[str, KnownRun] = {}
        self._surveyed_at = float("-inf")
        self._settled: set[str] = set()
        self._complaints: set[tuple[str, str]] = set()

    def start(self) -> None:
        """Begin to watch."""
        threading.Thread(target=self._run, name="alerts", daemon=True).start()

    def check(self) -> None:
        """Look once at every run that is of interest."""
        self._survey(time.monotonic())
        for known in self._runs.values():
            if self._is_ending():
                return
            self._look_at_safely(known)
        self._runs = self._of_interest(self._runs.values())

    def _run(self) -> None:
        while not self._is_ending():
            self.check()
            deadline = time.monotonic() + LOOK_SECONDS
            while time.monotonic() < deadline and not self._is_ending():
                time.sleep(TICK_SECONDS)

    def _survey(self, now: float) -> None:
        """Find the runs that live, and once every other one: an alert may have ended while nobody watched."""
        if now < self._surveyed_at + SURVEY_SECONDS:
            return
        self._surveyed_at = now
        try:
            found = self._registry.runs()
        except StoreUnavailableError as error:
            logger.debug("Runs cannot be listed: %s", error)
        except Exception as error:  # the boundary of the thread
            if self._is_new("survey", error):
                logger.exception("The runs cannot be listed, so new ones are not watched for alerts.")
        else:
            self._runs = self._of_interest(found)

    def _of_interest(self, runs: Iterable[KnownRun]) -> dict[str, KnownRun]:
        now = time.time()
        return {known.row.id: known for known in runs if known.row.id not in self._settled or is_change(known.row, now)}

    def _look_at_safely(self, known: KnownRun) -> None:
        try:
            self._look_at(known)
        except StoreUnavailableError as error:
            logger.debug("The alerts of run %s cannot be judged: %s", known.row.id, error)
        except Exception as error:  # the boundary of the thread: a defect with one run must not silence all
            if self._is_new(known.row.id, error):
                logger.exception("The alerts of run %s cannot be judged.", known.row.id)

    def _look_at(self, known: KnownRun) -> None:
        alert_log, now = self._alert_logs.of(known.store, known.row.id), time.time()
        with known.store.transaction_scope():  # over one connection
            run = known.store.runs.get(known.row.id)
            if run is None:  # archived
                return
        directory = None if known.cached_directory is None else known.cached_directory.directory
        alert_log.record_changes(run, free_bytes(directory, run), now, only_ends=not is_change(run, now))
        self._settled.add(run.id)
        if self._told is not None:
            self._told(known, alert_log.last_change_id)

    def _is_new(self, what: str, error: Exception) -> bool:
        """Whether such a defect was not logged before: a turn comes every few seconds."""
        kind = (what, type(error).__name__)
        is_new = kind not in self._complaints
        self._complaints.add(kind)
        return is_new


def is_change(run: RunRow, now: float) -> bool:
    """Whether what begins now in this run is for anybody's attention."""
    silent_seconds = now - run.heartbeat_at
    return silent_seconds < (ENDED_SECONDS if run.state.has_ended else NEWS_SECONDS)
