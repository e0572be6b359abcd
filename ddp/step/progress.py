"""How far a run has come: the few numbers that a resume must restore, and what follows from them."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from service.config.fixed_settings import FixedSettings
from service.config.settings import RunConfig


@dataclass
class Progress:
    """Counted in optimizer steps and samples of all ranks. `best_quality` is None before the first validation.

    `owes_validation` is set while a scheduled validation is under way: a run that is left within makes it up.
    `branch` counts the rollbacks: a run that went back goes on on a new branch.
    """

    step: int = 0
    samples_seen: int = 0
    branch: int = 0
    best_quality: float | None = None
    best_step: int | None = None
    validated_step: int | None = None
    owes_validation: bool = False

    @property
    def last_recorded_step(self) -> int:
        """The last step whose record belongs to the way to here: at this step a new one may come."""
        return self.step if self.validated_step == self.step else self.step - 1

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return asdict(self)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what a checkpoint holds; a branch is never left by going back to before it."""
        branch = max(self.branch, state["branch"])
        for name, value in state.items():
            setattr(self, name, value)
        self.branch = branch

    def note_validation(self, quality: float) -> None:
        """Remember that this step is validated, and whether it is the best so far."""
        self.validated_step = self.step
        if math.isnan(quality):  # not one image could be read
            return
        if self.best_quality is None or quality > self.best_quality:
            self.best_quality, self.best_step = quality, self.step

    def report(self, config: RunConfig, sample_count: int, world_size: int) -> dict[str, Any]:
        """Return the record's keys about steps and epochs; `config` holds the settings in force.

        Samples form one endless stream, so an epoch may end inside a step: the step belongs to the epoch of its last
        sample, and `epoch_step_total` is the number of steps that an epoch takes, rounded up.
        """
        per_step = samples_per_step(config, world_size)
        epoch = max(0, self.samples_seen - 1) // sample_count
        seen_in_epoch = self.samples_seen - epoch * sample_count
        return {
            "step_current": self.step,
            "step_max": config.max_steps,
            "epoch_num": epoch + 1,
            "epoch_step_current": -(-seen_in_epoch // per_step),
            "epoch_step_total": -(-sample_count // per_step),
            "samples_seen": self.samples_seen,
            "best_quality_ever": self.best_quality,
            "branch_id": self.branch,
        }


def samples_per_step(settings: FixedSettings, world_size: int) -> int:
    """Return the samples of all ranks in one optimizer step."""
    return settings.batch_size * settings.accumulation_steps * world_size


def format_duration(seconds: float) -> str:
    """`HH:MM:SS`, hours may exceed 99; dashes when the duration is not known yet."""
    if not seconds >= 0 or seconds == float("inf"):
        return "--:--:--"
    whole = round(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"
