"""What a rank is doing now, said by its training thread and read by any other.

    marker.enter(Stage.DATA)          before waiting for the loader
    marker.enter(Stage.FORWARD)       ...
    marker.now()                      from the watchdog's thread

Saying it is one assignment of one tuple, which the interpreter does as a whole: no lock, no file, no wait.
"""

import time
from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """The parts of a rank's work, each of which can hang for a reason of its own."""

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
        """Whether a rank in this stage needs all others: then it may be stuck because of one of them."""
        return self in {Stage.ALL_REDUCE, Stage.LOG, Stage.COMMAND}


@dataclass(frozen=True)
class StageReading:
    """The stage at one moment, and for how long it has lasted; `step` is None before the first."""

    stage: Stage
    step: int | None
    age_seconds: float


class StageMarker:
    """Written by the training thread alone; read by any thread."""

    def __init__(self) -> None:
        self._entered: tuple[Stage, int | None, float] = (Stage.STARTING, None, time.monotonic())

    def enter(self, stage: Stage, step: int | None = None) -> None:
        """A stage begins now; without `step`, at the step last named.

        Entering the same stage again restarts its age: that is how progress inside a stage is said.
        """
        self._entered = (stage, self._entered[1] if step is None else step, time.monotonic())

    def now(self) -> StageReading:
        """The present stage."""
        stage, step, since = self._entered
        return StageReading(stage, step, time.monotonic() - since)
