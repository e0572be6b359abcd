"""The watchdog of one rank: a thread that reports the training thread's stage, and names the rank that hangs.

    every rank            stage, step, age, usual time and, in a long stage or every 10 s, the stack  ─> status store
    rank 0                status store ─> rank table ─> report (the store's rows), stall detection ─> on_stall
    rank 1, for rank 0    status store ─> rank table ─> stall detection ─> on_stall, if rank 0 is silent itself
    a rank asked to leave which waits for data: is another one's process gone? ─> on_lost_rank

It uses no collective, so it works while all collectives hang, and it never interrupts the thread that it watches, but
through `on_lost_rank`.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from ddp.distributed.status_store import StatusStore, StatusStoreUnavailableError
from ddp.watchdog import processes
from ddp.watchdog.escalation import Ended, Escalation
from ddp.watchdog.hang_files import HangFiles
from ddp.watchdog.rank_status import RankReport, RankStatus, RankStatusTable
from ddp.watchdog.stack_dump import thread_stack
from ddp.watchdog.stack_groups import group_stacks, sentence_of
from ddp.watchdog.stages import Stage, StageMarker, StageReading
from ddp.watchdog.stall_detection import Stall, StallTracker, find_stall, waits
from service.background_thread import BackgroundThread, ErrorBoundary, OngoingProblem
from service.config.timeouts import REPORT_SECONDS
from service.run import active_time

__all__ = ["Ended", "HangFiles", "RankStatus", "Stall", "Watchdog"]

SHOW_SECONDS = 1.0
"""Time between two statuses that are passed on to be shown."""
STACK_SECONDS = 10.0
LONG_STAGE_SECONDS = 1.0
"""A stage that lasts longer gets a new stack that often."""
MAX_MISSED_REPORTS = 20
"""Number of reports that a rank may miss before it counts as silent, however small STALL_SECONDS is, until it is known
how often it reports."""
MAX_MISSED_READS = 2
"""So many intervals of silence are added at most when this rank itself was late to look."""
CLOSE_SECONDS = 1.0
LAST_WORDS_SECONDS = 1.0
"""How long a rank that ends itself lets its recorder write that."""

logger = logging.getLogger(__name__)


class Watchdog:
    """Watchdog of the thread that constructs it. Its own thread calls `report`, `on_stall` and `on_end`."""

    def __init__(
        self,
        marker: StageMarker,
        status_store: StatusStore,
        identity: tuple[int, str, str],
        stall_seconds: Callable[[], float],
        report: Callable[[Sequence[RankStatus]], None] | None = None,
        on_stall: Callable[[Stall], None] | None = None,
        *,
        on_end: Callable[[Ended], None] = lambda _: None,
        is_ended: Callable[[], bool] = lambda: False,
        is_leaving: Callable[[], bool] = lambda: False,
        on_lost_rank: Callable[[str], None] = lambda _: None,
        files: HangFiles | None = None,
        interval_seconds: float = REPORT_SECONDS,
    ) -> None:
        """`identity` is (rank, host, device). `report` receives the statuses of all ranks every `SHOW_SECONDS`.

        `on_stall` receives each stall once when it is detected, and once more with `is_resolved` when it has ended; on
        other ranks than rank 0 only those of a silent rank 0. While `is_ended()`, ranks whose stall lasts are ended,
        after `on_end`. The stacks of each stall are written to `files`. While `is_leaving()` and the watched thread
        waits for data, `on_lost_rank` is told of a rank on this machine whose process has ended, at every look.
        """
        self._marker = marker
        self._status_store = status_store
        self._rank, self._host, self._device = identity
        self._stall_seconds = stall_seconds
        self._report = report
        self._on_stall = on_stall
        self._on_end = on_end
        self._is_leaving = is_leaving
        self._on_lost_rank = on_lost_rank
        self._files = files
        self._interval_seconds = interval_seconds
        self._watched_thread = threading.get_ident()
        # Used by the watchdog's thread only
        self._report_count = 0
        self._stack = ""
        self._stacked_at = self._shown_at = float("-inf")
        self._rank_table = RankStatusTable(MAX_MISSED_READS * interval_seconds)
        self._stalls = StallTracker()
        self._escalation = Escalation(status_store, (os.getpid(), self._host), is_ended)
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
        stall = find_stall(self._rank_table.statuses(), min(1.0, seconds / 2), MAX_MISSED_REPORTS * REPORT_SECONDS)
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
        reading = self._marker.now()
        self._publish(reading)
        self._escalation.obey()
        is_waiting = reading.stage is Stage.DATA and self._is_leaving()
        if self._report is None and self._on_stall is None and not is_waiting:
            return
        self._rank_table.update(self._status_store.read_all())
        statuses, now = self._rank_table.statuses(), time.monotonic()
        if is_waiting:
            self._look_for_lost_ranks(statuses)
        if self._report is not None and not self._thread.is_closing and now - self._shown_at >= self._show_seconds:
            self._shown_at = now
            self._report(statuses)
        if self._on_stall is not None and not self._thread.is_closing:
            self._report_stalls(statuses, self._on_stall)

    @property
    def _show_seconds(self) -> float:
        """Slightly less than the time that is meant, which is a multiple of the interval."""
        return min(SHOW_SECONDS, 4 * self._interval_seconds) - self._interval_seconds / 2

    def _publish(self, reading: StageReading) -> None:
        """Publish a reading in the status store, with the latest stack."""
        now = time.monotonic()
        is_long = reading.age_seconds > LONG_STAGE_SECONDS
        if now - self._stacked_at >= (min(LONG_STAGE_SECONDS, STACK_SECONDS) if is_long else STACK_SECONDS):
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
            p99_seconds=self._marker.p99_seconds(reading.stage),
            is_settled=self._marker.is_settled,
        )
        self._status_store.publish(report.encode())

    def _report_stalls(self, statuses: Sequence[RankStatus], on_stall: Callable[[Stall], None]) -> None:
        stall_seconds = self._stall_seconds()
        silence_seconds = max(stall_seconds, MAX_MISSED_REPORTS * self._interval_seconds)
        found = find_stall(statuses, stall_seconds, silence_seconds)
        if self._rank != 0 and found is not None and not (found.is_silent and found.rank == 0):
            found = None  # rank 0 names it itself
        for stall in self._stalls.changes(found, active_time.now()):
            on_stall(stall if stall.is_resolved else self._with_stacks(stall, statuses))
        if found is not None and self._escalation.is_due(found):
            self._end(found, statuses)

    def _look_for_lost_ranks(self, statuses: Sequence[RankStatus]) -> None:
        """Tell of a rank whose process has ended: the launcher kills those that do not hear of it and leave."""
        for status in statuses:
            if status.host == self._host and status.pid is not None and processes.has_ended(status.pid):
                self._on_lost_rank(f"Rank {status.rank} (process {status.pid}) has ended; this one waited for data.")
                return

    def _with_stacks(self, stall: Stall, statuses: Sequence[RankStatus]) -> Stall:
        """Return the stall with the groups of equal stacks, which are written to a file."""
        silent = {rank: self._state_of(statuses[rank]) for rank in (stall.rank, *stall.also) if rank is not None}
        waiting = [status.rank for status in statuses if waits(status)]
        groups = group_stacks(statuses, silent if stall.is_silent else {}, waiting)
        stall = replace(stall, message=f"{stall.message} {sentence_of(groups)}", groups=groups)
        file = None if self._files is None else self._files.write(stall, statuses)
        return replace(stall, stacks_file=file)

    def _state_of(self, status: RankStatus) -> str:
        """Return what the kernel says of a rank, if it runs on this machine."""
        return processes.state_of(status.pid) if status.pid is not None and status.host == self._host else ""

    def _end(self, stall: Stall, statuses: Sequence[RankStatus]) -> None:
        """End the ranks that hang, once; their stacks are saved before."""
        ended = self._escalation.begin(stall, statuses)
        if ended is None:
            return
        self._on_end(ended)
        if self._files is not None:
            self._files.wait()
        if self._rank in ended.ranks:
            time.sleep(LAST_WORDS_SECONDS)
        self._escalation.carry_out(ended, statuses)

    def _publish_leaving(self) -> None:
        """Publish the last report, so that a rank that left on purpose does not count as silent."""
        reading = self._marker.now()
        self._publish(StageReading(Stage.LEAVING, reading.step, 0.0))
