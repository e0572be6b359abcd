"""The learning rate as a pure function of the number of steps done: linear warm-up, then a cosine."""

import math
from dataclasses import dataclass

from service.settings import RunConfig


@dataclass(frozen=True)
class Schedule:
    """Linear from `start` to `peak` over `warmup_steps`, then half a cosine down to `floor` at `max_steps`.

    Cosine annealing without restarts: Loshchilov and Hutter, SGDR, 2017, equation 5.
    """

    start: float
    peak: float
    floor: float
    warmup_steps: int
    max_steps: int

    @classmethod
    def of(cls, config: RunConfig) -> "Schedule":
        """The schedule that the settings describe."""
        start = min(10.0**config.lr_exponent, config.max_lr)
        return cls(start, config.max_lr, config.min_lr, config.warmup_steps, config.max_steps)

    def phase(self, steps_done: int) -> str:
        """`warmup` or `cosine`."""
        return "warmup" if steps_done < self.warmup_steps else "cosine"

    def learning_rate(self, steps_done: int) -> float:
        """The learning rate of the step that follows `steps_done` steps."""
        if steps_done < self.warmup_steps:
            return self.start + (self.peak - self.start) * steps_done / self.warmup_steps
        span = max(1, self.max_steps - self.warmup_steps)
        progress = min(1.0, (steps_done - self.warmup_steps) / span)
        return self.floor + (self.peak - self.floor) * 0.5 * (1 + math.cos(math.pi * progress))
