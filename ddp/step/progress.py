"""Progress of a run: the counters that a resume restores, and values derived from them."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from service.config.fixed_settings import FixedSettings
from service.config.settings import RunConfig


@dataclass
class Progress:
    """Progress in optimizer steps and in samples of all ranks. `best_quality` is None before the first validation.

    `owes_validation` is set during a scheduled validation: if it is interrupted, the next start repeats it.
    `branch` counts the rollbacks: each one continues the run on a new branch.
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
        """Last step whose record belongs to this state; a step that has not been validated may still get one."""
        return self.step if self.validated_step == self.step else self.step - 1

    def state(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return asdict(self)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the values of a checkpoint; the branch number never decreases."""
        branch = max(self.branch, state["branch"])
        for name, value in state.items():
            setattr(self, name, value)
        self.branch = branch

    def note_validation(self, quality: float) -> None:
        """Mark this step as validated, and as the best one if `quality` is the highest so far."""
        self.validated_step = self.step
        if math.isnan(quality):  # no image could be read
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
    """Format seconds as `HH:MM:SS`, where hours may exceed 99; as dashes if the duration is unknown."""
    if not seconds >= 0 or seconds == float("inf"):
        return "--:--:--"
    whole = round(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"
