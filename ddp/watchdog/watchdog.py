"""The watchdog of one rank: a thread that reports the training thread's stage, and on rank 0 detects stalled ranks.

    every rank, every second    stage, step, age and, in a long stage or every 10 s, the stack  ─> status store
    rank 0, every second        status store ─> rank table ─> report (the store's rows), stall detection ─> on_stall

It never interrupts the thread that it watches, and it uses no collective, so it works while all collectives hang.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from ddp.distributed.status_store import StatusStore, StatusStoreUnavailableError
from ddp.watchdog.rank_status import RankReport, RankStatus, RankStatusTable
from ddp.watchdog.stack_dump import thread_stack
from ddp.watchdog.stages import Stage, StageMarker, StageReading
from ddp.watchdog.stall_detection import Stall, StallTracker, find_stall
from service.background_thread import BackgroundThread, ErrorBoundary, OngoingProblem
from service.run import active_time

__all__ = ["RankStatus", "Stall", "Watchdog"]

INTERVAL_SECONDS = 1.0
STACK_SECONDS = 10.0
LONG_STAGE_SECONDS = 1.0
"""A stage that lasts longer gets a new stack in every report."""
MAX_MISSED_REPORTS = 5
"""Number of reports that a rank may miss before it counts as silent, however small STALL_SECONDS is."""
CLOSE_SECONDS = 1.0

logger = logging.getLogger(__name__)


class Watchdog:
    """Watchdog of the thread that constructs it. Its own thread calls `report` and `on_stall`, on rank 0 only."""

    def __init__(
        self,
        marker: StageMarker,
        status_store: StatusStore,
        identity: tuple[int, str, str],
        stall_seconds: Callable[[], float],
        report: Callable[[Sequence[RankStatus]], None] | None = None,
        on_stall: Callable[[Stall], None] | None = None,
        *,
        interval_seconds: float = INTERVAL_SECONDS,
    ) -> None:
        """`identity` is (rank, host, device). `report` receives the statuses of all ranks at every interval.

        `on_stall` receives each stall once when it is detected, and once more with `is_resolved` when it has ended.
        """
        self._marker = marker
        self._status_store = status_store
        self._rank, self._host, self._device = identity
        self._stall_seconds = stall_seconds
        self._report = report
        self._on_stall = on_stall
        self._interval_seconds = interval_seconds
        self._watched_thread = threading.get_ident()
        # Used by the watchdog's thread only
        self._report_count = 0
        self._stack = ""
        self._stacked_at = float("-inf")
        self._rank_table = RankStatusTable()
        self._stalls = StallTracker()
        self._status_store_loss = OngoingProblem()
        self._thread = BackgroundThread(
            "watchdog",
            lambda: self._with_status_store(self._check),
            interval_seconds=interval_seconds,
            runs_immediately=True,
            boundary=ErrorBoundary(logger, once=True),
            error_message="The watchdog met an unexpected error; it goes on.",
            at_end=lambda: self._with_status_store(self._publish_leaving),
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Report that this rank leaves, and stop the thread; wait at most CLOSE_SECONDS for the status store."""
        self._thread.close(CLOSE_SECONDS)

    def explain_timeout(self, seconds: float) -> str:
        """Return the sentences for a collective that got no answer for `seconds`: which rank hangs, and where."""
        with suppress(StatusStoreUnavailableError):  # then the last known statuses are used
            self._rank_table.update(self._status_store.read_all())
        stall = find_stall(self._rank_table.statuses(), min(1.0, seconds / 2), MAX_MISSED_REPORTS * INTERVAL_SECONDS)
        cause = "No rank is known to hang: look at the network between them." if stall is None else stall.message
        return f"The ranks have waited for each other for {seconds:.0f} s (COLLECTIVE_TIMEOUT_SECONDS). {cause}"

    # On the watchdog's thread

    def _with_status_store(self, act: Callable[[], None]) -> None:
        """Call `act`, which uses the status store; log once if the store is unreachable."""
        try:
            act()
        except StatusStoreUnavailableError as error:
            if self._status_store_loss.begin():
                logger.warning("The ranks' board cannot be reached (%s); no stall is named until it is back.", error)
        else:
            self._status_store_loss.end()

    def _check(self) -> None:
        self._publish(self._marker.now())
        if self._report is None and self._on_stall is None:
            return
        self._rank_table.update(self._status_store.read_all())
        statuses = self._rank_table.statuses()
        if self._report is not None and not self._thread.is_closing:
            self._report(statuses)
        if self._on_stall is not None and not self._thread.is_closing:
            self._report_stalls(statuses, self._on_stall)

    def _publish(self, reading: StageReading) -> None:
        """Publish a reading in the status store, with the latest stack."""
        now = time.monotonic()
        if reading.age_seconds > LONG_STAGE_SECONDS or now - self._stacked_at >= STACK_SECONDS:
            self._stack, self._stacked_at = thread_stack(self._watched_thread), now
        self._report_count += 1
        report = RankReport(
            number=self._report_count,
            host=self._host,
            pid=os.getpid(),
            device=self._device,
            stage=reading.stage,
            step=reading.step,
            stage_seconds=reading.age_seconds,
            stopped_seconds=active_time.stopped_seconds(),
            stack=self._stack,
            stack_seconds=now - self._stacked_at,
        )
        self._status_store.publish(report.encode())

    def _report_stalls(self, statuses: Sequence[RankStatus], on_stall: Callable[[Stall], None]) -> None:
        stall_seconds = self._stall_seconds()
        silence_seconds = max(stall_seconds, MAX_MISSED_REPORTS * self._interval_seconds)
        for stall in self._stalls.changes(find_stall(statuses, stall_seconds, silence_seconds), active_time.now()):
            on_stall(stall)

    def _publish_leaving(self) -> None:
        """Publish the last report, so that a rank that left on purpose does not count as silent."""
        reading = self._marker.now()
        self._publish(StageReading(Stage.LEAVING, reading.step, 0.0))
