"""What one start of a trainer has spent its time on, as the trainer reports it, and where all time of a run went."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

TOLERANCE_SECONDS = 0.002
"""A log has times in milliseconds: two that differ by less are the same."""


class Activity(StrEnum):
    """What a trainer does at a moment; one at a time."""

    STARTING = "starting"
    TRAINING = "training"
    VALIDATING = "validating"
    SAVING = "saving"
    PAUSED = "paused"
    STALLED = "stalled"


class TimeUse(StrEnum):
    """What the wall time of a run went to; all of them together are the wall time.

    useful      steps whose work was kept
    repeated    steps whose work was lost and is done again, or was given up by a rollback
    starting    from the beginning of rank 0's process until the first step of a start is done; going back to a state
    validating  scoring images, up to the record
    saving      the training is held while its state is copied, or until the last one is on disk
    paused      a person paused the run
    stalled     a rank kept all from moving on, or the trainer's process was stopped
    down        no trainer was there, after a crash, a signal or an error
    stopped     no trainer was there, after the run was finished or a person stopped it
    unknown     nothing tells what this time went to
    """

    USEFUL = "useful"
    REPEATED = "repeated"
    STARTING = "starting"
    VALIDATING = "validating"
    SAVING = "saving"
    PAUSED = "paused"
    STALLED = "stalled"
    DOWN = "down"
    STOPPED = "stopped"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class TimeSpent:
    """What a start has spent its time on so far, at the Unix time `at`, when `step` steps of the run were done.

    The start began at `began_at`, with rank 0's process; its first step was done at `training_at`, None before that.
    Both are Unix seconds. `seconds` are by `Activity`.
    """

    began_at: float
    at: float
    step: int
    training_at: float | None
    seconds: Mapping[Activity, float]

    def as_dict(self) -> dict[str, Any]:
        """Return it as it is stored."""
        seconds = {activity.value: round(self.seconds.get(activity, 0.0), 3) for activity in Activity}
        return {
            "began_at": self.began_at, "at": self.at, "step": self.step, "training_at": self.training_at,
            "seconds": seconds,
        }  # fmt: skip

    @classmethod
    def parse(cls, value: Any) -> "TimeSpent | None":
        """Return what `as_dict` has made; None for anything else."""
        if not isinstance(value, Mapping) or not isinstance(value.get("seconds"), Mapping):
            return None
        began_at, at, step = number(value.get("began_at")), number(value.get("at")), value.get("step")
        if began_at is None or at is None or not isinstance(step, int):
            return None
        seconds = {activity: max(0.0, number(value["seconds"].get(activity)) or 0.0) for activity in Activity}
        return cls(began_at, at, step, number(value.get("training_at")), seconds)

    def is_of(self, began_at: float) -> bool:
        """Return whether it is of the start that began at this Unix time."""
        return abs(self.began_at - began_at) < TOLERANCE_SECONDS


def number(value: Any) -> float | None:
    """Return a finite number as a float; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < float("inf") else None
