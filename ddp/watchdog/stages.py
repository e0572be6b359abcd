"""Current stage of a rank, set by its training thread and read by any thread.

    marker.enter(Stage.DATA)          before waiting for the loader
    marker.enter(Stage.FORWARD)       ...
    marker.now()                      from the watchdog's thread

Setting it is an atomic assignment of one tuple: no lock, no file, no wait.
"""

import time
from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """Stages of a rank's work, each of which can hang for its own reason."""

    STARTING = "starting"
    DATA = "data"
    FORWARD = "forward"
    ALL_REDUCE = "all-reduce"  # backward, during which gradients are averaged
    UPDATE = "update"
    LOG = "log"
    VALIDATION = "validation"
    CHECKPOINT = "checkpoint"
    COMMAND = "command"
    PAUSED = "paused"
    LEAVING = "leaving"

    @property
    def waits_for_others(self) -> bool:
        """Whether a rank in this stage waits for all others, and may hang because of one of them."""
        return self in {Stage.ALL_REDUCE, Stage.LOG, Stage.COMMAND}


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

    def enter(self, stage: Stage, step: int | None = None) -> None:
        """Enter a stage now; without `step` the step number stays.

        Entering the same stage again restarts its age, which marks progress within a stage.
        """
        self._entered = (stage, self._entered[1] if step is None else step, time.monotonic())

    def now(self) -> StageReading:
        """Return the current stage and its age."""
        stage, step, since = self._entered
        return StageReading(stage, step, time.monotonic() - since)
