"""What a trainer spends its time on, from the beginning of its process: one activity at a time, the innermost counts.

    with account.spending(Activity.VALIDATING): ...      on the training thread
    account.note_step()                                  after each step; the first one ends the start
    account.read(step)                                   on any thread

Nothing is measured in a step; the clock is read where an activity begins or ends.
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from service.run import active_time
from service.run.ledger.time_spent import Activity, TimeSpent


class TimeAccount:
    """Seconds of each activity. Time in which the process was stopped counts as stalled, whatever it was doing.

    `began_at` is when the process began (Unix s).
    """

    def __init__(self) -> None:
        age = process_age_seconds()
        self.began_at = time.time() - age
        self._training_at: float | None = None
        # One tuple that is replaced as a whole, so that any thread may read it: the activity, since which moment of
        # the monotonic clock, for how long the process had been stopped then, and the seconds of all before.
        self._now: tuple[Activity, float, float, Mapping[Activity, float]] = (
            Activity.STARTING, time.monotonic(), active_time.stopped_seconds(), {Activity.STARTING: age},
        )  # fmt: skip

    @contextmanager
    def spending(self, activity: Activity) -> Iterator[None]:
        """Count the time within the block as that of an activity."""
        outer = self._now[0]
        self._enter(activity)
        try:
            yield
        finally:
            self._enter(outer)

    def note_step(self) -> None:
        """Note that a step was made: the first one ends the start."""
        if self._training_at is None:
            self._training_at = time.time()
            self._enter(Activity.TRAINING)

    def read(self, step: int) -> TimeSpent:
        """Return what was spent until now, when `step` steps of the run are done."""
        return TimeSpent(self.began_at, time.time(), step, self._training_at, self._seconds()[1])

    def _enter(self, activity: Activity) -> None:
        (now, stopped), seconds = self._seconds()
        self._now = (activity, now, stopped, seconds)

    def _seconds(self) -> tuple[tuple[float, float], dict[Activity, float]]:
        """Return the monotonic time with the seconds for which the process was stopped so far, and all seconds."""
        activity, since, stopped_before, before = self._now
        stopped, now = active_time.stopped_seconds(), time.monotonic()
        seconds, stalled = dict(before), min(stopped - stopped_before, now - since)
        seconds[activity] = seconds.get(activity, 0.0) + (now - since) - stalled
        seconds[Activity.STALLED] = seconds.get(Activity.STALLED, 0.0) + stalled
        return (now, stopped), seconds


def process_age_seconds() -> float:
    """Return for how long this process has existed (s); 0 where the system does not tell, which only Linux does."""
    with suppress(OSError, ValueError, IndexError, AttributeError):
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        started = int(fields[19]) / os.sysconf("SC_CLK_TCK")  # the 22nd field, since the machine began
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)
    return 0.0
