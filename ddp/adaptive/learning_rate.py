"""The learning rate: a schedule of linear warm-up and cosine, and boosts that decay back to it."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from ddp.adaptive.state_reader import StateReader
from service.config.settings import RunConfig

FACTOR = 3.0
"""A boost raises the learning rate to this many times the scheduled one, but never above MAX_LR."""
MIN_RAISE = 0.1
"""Minimum share of the scheduled rate that a boost must add to be used."""
REST_STEPS = 1000
"""Minimum number of steps between the end of a boost and the next one."""


@dataclass(frozen=True)
class LrBoost:
    """Boost that begins after `began` steps, `height` above the schedule, and decays to 0 within `steps` steps."""

    began: int
    height: float
    steps: int

    def lasts(self, steps_done: int) -> bool:
        """Whether the step after `steps_done` steps is boosted."""
        return self.began <= steps_done < self.began + self.steps

    def rests(self, steps_done: int) -> bool:
        """Whether it is too early for another boost."""
        return steps_done < self.began + self.steps + REST_STEPS

    def ended_by(self, max_steps: int) -> "LrBoost":
        """Return the boost with a decay that is over after `max_steps` steps, so that a run ends with the schedule."""
        return replace(self, steps=max(1, min(self.steps, max_steps - self.began)))

    def amount(self, steps_done: int) -> float:
        """Return the addition to the learning rate of the step after `steps_done` steps."""
        if not self.lasts(steps_done):
            return 0.0
        return self.height * 0.5 * (1 + math.cos(math.pi * (steps_done - self.began) / self.steps))

    def state(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return asdict(self)

    @classmethod
    def restored(cls, saved: StateReader) -> "LrBoost":
        """Return the saved boost. Raises `ValueError`."""
        return cls(saved.whole("began"), saved.number("height", 0.0), saved.whole("steps", 1))


def height_at(learning_rate: float, max_lr: float) -> float:
    """Return what a boost would add to this learning rate; 0 if that is below MIN_RAISE."""
    height = min(FACTOR * learning_rate, max_lr) - learning_rate
    return height if height > 0 and height >= MIN_RAISE * learning_rate else 0.0


@dataclass(frozen=True)
class LrSchedule:
    """Linear from `start` to `peak` over `warmup_steps`, then half a cosine down to `floor` at `max_steps`.

    Cosine annealing without restarts: Loshchilov and Hutter, SGDR, 2017, equation 5.
    """

    start: float
    peak: float
    floor: float
    warmup_steps: int
    max_steps: int

    @classmethod
    def of(cls, config: RunConfig) -> "LrSchedule":
        """Return the schedule of the settings."""
        start = min(10.0**config.lr_exponent, config.max_lr)
        return cls(start, config.max_lr, config.min_lr, config.warmup_steps, config.max_steps)

    def phase(self, steps_done: int) -> str:
        """Return `warmup` or `cosine`."""
        return "warmup" if steps_done < self.warmup_steps else "cosine"

    def learning_rate(self, steps_done: int) -> float:
        """Return the learning rate of the step after `steps_done` steps."""
        if steps_done < self.warmup_steps:
            return self.start + (self.peak - self.start) * steps_done / self.warmup_steps
        span = max(1, self.max_steps - self.warmup_steps)
        progress = min(1.0, (steps_done - self.warmup_steps) / span)
        return self.floor + (self.peak - self.floor) * 0.5 * (1 + math.cos(math.pi * progress))
