"""Current stage of a rank, set by its training thread and read by any thread, and how long its stages usually last.

    marker.enter(Stage.DATA)          before waiting for the loader
    marker.enter(Stage.FORWARD)       ...
    marker.now()                      from the watchdog's thread

Setting it is an atomic assignment of one tuple, and one number added to a histogram: no lock, no file, no wait.
"""

import time
from dataclasses import dataclass
from enum import StrEnum

from ddp.watchdog.durations import DurationHistogram
from service.run import active_time


class Stage(StrEnum):
    """Stages of a rank's work, each of which can hang for its own reason."""

    STARTING = "starting"
    DATA = "data"
    FORWARD = "forward"
    ALL_REDUCE = "all-reduce"  # backward, during which gradients are averaged, and other sums over the ranks
    UPDATE = "update"
    LOG = "log"
    VALIDATION = "validation"
    CHECKPOINT = "checkpoint"
    ROLLBACK = "rollback"
    COMMAND = "command"
    PAUSED = "paused"
    LEAVING = "leaving"

    @property
    def waits_for_others(self) -> bool:
        """Whether a rank in this stage waits for all others, and may hang because of one of them."""
        return self in {Stage.ALL_REDUCE, Stage.LOG, Stage.COMMAND}


_LEARNT = frozenset(
    {Stage.DATA, Stage.FORWARD, Stage.ALL_REDUCE, Stage.UPDATE, Stage.LOG, Stage.VALIDATION, Stage.CHECKPOINT}
)
"""Stages that are alike every time, so that their durations say how long they may last.

A start, a rollback, a command or the end differ from one time to the next, and a pause has no limit.
"""
LONG_SECONDS = 1.0
"""Of longer stages, the time in which this process was stopped is left out of what is learnt."""


@dataclass(frozen=True)
class StageReading:
    """Stage at one moment, and its duration so far (s); `step` is None before the first step."""

    stage: Stage
    step: int | None
    age_seconds: float


class StageMarker:
    """Current stage; only the training thread writes it, any thread reads it."""

    def __init__(self) -> None:
        self._entered: tuple[Stage, int | None, float] = (Stage.STARTING, None, time.monotonic())
        self._durations = {stage: DurationHistogram() for stage in _LEARNT}

    def enter(self, stage: Stage, step: int | None = None) -> None:
        """Enter a stage now; without `step` the step number stays.

        Entering the same stage again restarts its age, which marks progress within a stage.
        """
        (left, previous_step, since), now = self._entered, time.monotonic()
        self._entered = (stage, previous_step if step is None else step, now)
        if (durations := self._durations.get(left)) is not None:
            seconds = now - since
            if seconds > LONG_SECONDS:
                seconds = max(0.0, seconds - active_time.stopped_seconds_since(since))
            durations.add(seconds)

    def forget(self, stage: Stage) -> None:
        """Forget how long a stage lasted: from now on it is another one, as after a restart of the loaders."""
        self._durations[stage] = DurationHistogram()

    def now(self) -> StageReading:
        """Return the current stage and its age."""
        stage, step, since = self._entered
        return StageReading(stage, step, time.monotonic() - since)

    def p99_seconds(self, stage: Stage) -> float | None:
        """Return how long this stage lasts at most in 99 of 100 cases (s); None if that is not known."""
        durations = self._durations.get(stage)
        return None if durations is None else durations.p99()

    @property
    def is_settled(self) -> bool:
        """Whether enough steps were made for their durations to be known: no start, no compilation goes on."""
        return self._durations[Stage.FORWARD].p99() is not None
