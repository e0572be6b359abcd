"""The heartbeat of a run: writes step, times and trainer statistics to the run's row in the store once a second."""

import time
from collections.abc import Callable

from ddp.recording.registration import OwnedRun
from service.run import active_time
from service.run.trainer_stats import TrainerStats

HEARTBEAT_SECONDS = 1.0
EARLY_SECONDS = 0.5
"""Interval after which a heartbeat is sent early, in one transaction with something else that is written."""


class Heartbeat:
    """Heartbeat of one run. The training thread marks progress, the recorder's thread writes."""

    def __init__(self, run: OwnedRun, stats: Callable[[], TrainerStats]) -> None:
        self._run = run
        self._stats = stats
        self._progressed_at = active_time.now()  # its time on the other clock would be wrong after a jump
        self._sent_at = float("-inf")
        self.is_forced = False

    def mark_progress(self) -> None:
        """Store the current time as the time of the last progress."""
        self._progressed_at = active_time.now()

    def force(self) -> None:
        """Make the next heartbeat due immediately; `is_forced` is True until it is written."""
        self._sent_at = float("-inf")
        self.is_forced = True

    def send_if_due(self, now: float, step: int, *, is_early: bool = False) -> None:
        """Write the heartbeat if it is due at the monotonic time `now` (s), or soon due if it `is_early`.

        Raises `StoreUnavailableError`, or `NotOwnerError` if another trainer reports the run.
        """
        if now < self._sent_at + (EARLY_SECONDS if is_early else HEARTBEAT_SECONDS):
            return
        heartbeat_at = time.time()
        progress_at = heartbeat_at - (active_time.now() - self._progressed_at)
        self._run.update(heartbeat_at=heartbeat_at, progress_at=progress_at, step=step, facts=self._stats())
        self._sent_at = now
        self.is_forced = False
