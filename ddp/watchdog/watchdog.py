"""The watchdog of one rank: a thread that says what the training thread does, and on rank 0 who holds all others up.

    every rank, every second    stage, step, age and, when the stage lasts or every 10 s, the stack  ─> board
    rank 0, every second        board ─> roster ─> report (the store's rows), judgement ─> the news of a stall

It never touches the thread that it watches, and the board is no collective: it goes on while all collectives hang.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence

from ddp.distributed.status_store import StatusStore, StatusStoreGoneError
from ddp.watchdog.rank_status import RankReport, RankStatus, RankStatusTable
from ddp.watchdog.stack_dump import thread_stack
from ddp.watchdog.stages import Stage, StageMarker, StageReading
from ddp.watchdog.stall_detection import Stall, StallTracker, find_stall
from service.background_thread import BackgroundThread, ErrorBoundary, OngoingProblem

__all__ = ["RankStatus", "Stall", "Watchdog"]

TURN_SECONDS = 1.0
STACK_SECONDS = 10.0
LASTING_SECONDS = 1.0
"""A stage that lasts longer is worth a fresh stack at every turn."""
SILENT_TURNS = 5
"""A rank that missed fewer posts is not called silent, however small STALL_SECONDS is."""
CLOSE_SECONDS = 1.0

logger = logging.getLogger(__name__)


class Watchdog:
    """Watches the thread that builds it. `report` and `on_stall` are for rank 0, and are called on the thread."""

    def __init__(
        self,
        marker: StageMarker,
        status_store: StatusStore,
        place: tuple[int, str, str],
        stall_seconds: Callable[[], float],
        report: Callable[[Sequence[RankStatus]], None] | None = None,
        on_stall: Callable[[Stall], None] | None = None,
        *,
        turn_seconds: float = TURN_SECONDS,
    ) -> None:
        """`place` is (rank, host, device). `report` gets all ranks every turn.

        `on_stall` gets each stall once when it is found, and once more with `is_over` when it has ended.
        """
        self._marker = marker
        self._status_store = status_store
        self._rank, self._host, self._device = place
        self._stall_seconds = stall_seconds
        self._report = report
        self._on_stall = on_stall
        self._turn_seconds = turn_seconds
        self._watched_thread = threading.get_ident()
        # Of the watchdog's thread
        self._posts = 0
        self._stack = ""
        self._stacked_at = float("-inf")
        self._rank_table = RankStatusTable()
        self._stalls = StallTracker()
        self._status_store_loss = OngoingProblem()
        self._thread = BackgroundThread(
            "watchdog",
            lambda: self._reach_status_store(self._turn),
            interval_seconds=turn_seconds,
            runs_immediately=True,
            boundary=ErrorBoundary(logger, once=True),
            error_message="The watchdog met an unexpected error; it goes on.",
            at_end=lambda: self._reach_status_store(self._post_leaving),
        )

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def close(self) -> None:
        """Post that this rank leaves, and stop. A board that does not answer is left alone after a second."""
        self._thread.close(CLOSE_SECONDS)

    # The watchdog's thread

    def _reach_status_store(self, act: Callable[[], None]) -> None:
        """Do what needs the board; a board that is gone is reported once and ends nothing."""
        try:
            act()
        except StatusStoreGoneError as error:
            if self._status_store_loss.begin():
                logger.warning("The ranks' board cannot be reached (%s); no stall is named until it is back.", error)
        else:
            self._status_store_loss.end()

    def _turn(self) -> None:
        self._post(self._marker.now())
        if self._report is None and self._on_stall is None:
            return
        self._rank_table.update(self._status_store.read_all())
        statuses = self._rank_table.statuses()
        if self._report is not None and not self._thread.is_closing:
            self._report(statuses)
        if self._on_stall is not None and not self._thread.is_closing:
            self._report_stalls(statuses, self._on_stall)

    def _post(self, reading: StageReading) -> None:
        """Put a reading on the board, with the newest stack."""
        now = time.monotonic()
        if reading.age_seconds > LASTING_SECONDS or now - self._stacked_at >= STACK_SECONDS:
            self._stack, self._stacked_at = thread_stack(self._watched_thread), now
        self._posts += 1
        post = RankReport(
            number=self._posts,
            host=self._host,
            pid=os.getpid(),
            device=self._device,
            stage=reading.stage,
            step=reading.step,
            stage_seconds=reading.age_seconds,
            stack=self._stack,
            stack_seconds=now - self._stacked_at,
        )
        self._status_store.publish(post.encode())

    def _report_stalls(self, statuses: Sequence[RankStatus], on_stall: Callable[[Stall], None]) -> None:
        stall_seconds = self._stall_seconds()
        silence_seconds = max(stall_seconds, SILENT_TURNS * self._turn_seconds)
        for stall in self._stalls.changes(find_stall(statuses, stall_seconds, silence_seconds), time.monotonic()):
            on_stall(stall)

    def _post_leaving(self) -> None:
        """Post for the last time: a rank that left on purpose is not missed."""
        reading = self._marker.now()
        self._post(StageReading(Stage.LEAVING, reading.step, 0.0))
