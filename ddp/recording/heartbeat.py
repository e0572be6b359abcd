"""The heartbeat of a run: writes step, times and trainer statistics to the run's row in the store once a second."""

import time
from collections.abc import Callable

from service.run.trainer_stats import TrainerStats
from service.store.store import Store

HEARTBEAT_SECONDS = 1.0


class Heartbeat:
    """Heartbeat of one run. The training thread marks progress, the recorder's thread writes."""

    def __init__(self, store: Store, run_id: str, stats: Callable[[], TrainerStats]) -> None:
        self._store = store
        self._run_id = run_id
        self._stats = stats
        self._progress_at = time.time()
        self._sent_at = float("-inf")

    def mark_progress(self) -> None:
        """Store the current time as the time of the last progress."""
        self._progress_at = time.time()

    def force(self) -> None:
        """Make the next heartbeat due immediately."""
        self._sent_at = float("-inf")

    def send_if_due(self, now: float, step: int) -> None:
        """Write the heartbeat if it is due at the monotonic time `now` (s). Raises `StoreUnavailableError`."""
        if now < self._sent_at + HEARTBEAT_SECONDS:
            return
        values = {"progress_at": self._progress_at, "step": step, "facts": self._stats()}
        self._store.runs.update(self._run_id, heartbeat_at=time.time(), **values)
        self._sent_at = now
