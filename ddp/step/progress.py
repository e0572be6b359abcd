"""Progress of a run: the counters that a resume restores, and values derived from them."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from service.config.fixed_settings import FixedSettings
from service.config.settings import RunConfig
from service.run.record import UNKNOWN_DURATION


@dataclass
class Progress:
    """Progress in optimizer steps and in samples of all ranks. `best_quality` is None before the first validation.

    `owes_validation` is set during a scheduled validation: if it is interrupted, the next start repeats it.
    `branch` counts the rollbacks: each one continues the run on a new branch. `samples_before` and `epochs_before` are
    those with other training sets: the samples seen, and the epochs begun.
    """

    step: int = 0
    samples_seen: int = 0
    branch: int = 0
    best_quality: float | None = None
    best_step: int | None = None
    validated_step: int | None = None
    owes_validation: bool = False
    samples_before: int = 0
    epochs_before: int = 0

    @property
    def position(self) -> int:
        """Position in the stream of the present training set."""
        return self.samples_seen - self.samples_before

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
        for name, value in {**asdict(Progress()), **state}.items():  # earlier versions saved fewer values
            setattr(self, name, value)
        self.branch = branch

    def note_validation(self, quality: float) -> None:
        """Mark this step as validated, and as the best one if `quality` is the highest so far."""
        self.validated_step = self.step
        if math.isnan(quality):  # no image could be read
            return
        if self.best_quality is None or quality > self.best_quality:
            self.best_quality, self.best_step = quality, self.step

    def begin_training_set(self, sample_count: int) -> None:
        """Continue with the first sample of another training set; the set until now has `sample_count` samples."""
        if self.position:
            self.epochs_before = self._epoch(sample_count) + 1
        self.samples_before = self.samples_seen

    def forget_best(self) -> None:
        """Let the next validation be the best one."""
        self.best_quality, self.best_step = None, None

    def _epoch(self, sample_count: int) -> int:
        """Return the number of the present epoch, from 0 on, over all training sets."""
        return self.epochs_before + max(0, self.position - 1) // sample_count

    def report(self, config: RunConfig, sample_count: int, world_size: int) -> dict[str, Any]:
        """Return the record's keys about steps and epochs; `config` holds the settings in force.

        Samples form one endless stream, so an epoch may end inside a step: the step belongs to the epoch of its last
        sample, and `epoch_step_total` is the number of steps that an epoch takes, rounded up.
        """
        per_step = samples_per_step(config, world_size)
        epoch = self._epoch(sample_count)
        seen_in_epoch = self.position - (epoch - self.epochs_before) * sample_count
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
        return UNKNOWN_DURATION
    whole = round(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"
