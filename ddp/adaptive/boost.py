"""A boost of the learning rate: a height above the schedule that decays to nothing along half a cosine."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from ddp.adaptive.saved import Saved

FACTOR = 3.0
"""A boost raises the learning rate to this many times the scheduled one, but never above MAX_LR."""
LEAST_RAISE = 0.1
"""Share of the scheduled rate that a boost must at least add; a smaller one is not worth the disturbance."""
REST_STEPS = 1000
"""Steps after the end of a boost before which no other begins."""


@dataclass(frozen=True)
class Boost:
    """Begun when `began` steps were done, `height` above the schedule at first, gone after `steps` steps."""

    began: int
    height: float
    steps: int

    def lasts(self, steps_done: int) -> bool:
        """Whether the step that follows `steps_done` steps is boosted."""
        return self.began <= steps_done < self.began + self.steps

    def rests(self, steps_done: int) -> bool:
        """Whether it is too early for another one."""
        return steps_done < self.began + self.steps + REST_STEPS

    def amount(self, steps_done: int) -> float:
        """What is added to the learning rate of the step that follows `steps_done` steps."""
        if not self.lasts(steps_done):
            return 0.0
        return self.height * 0.5 * (1 + math.cos(math.pi * (steps_done - self.began) / self.steps))

    def state(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def restored(cls, saved: Saved) -> "Boost":
        """The boost that was saved; raises `ValueError`."""
        return cls(saved.whole("began"), saved.number("height", 0.0), saved.whole("steps", 1))


def height_at(learning_rate: float, max_lr: float) -> float:
    """How much a boost would add to this learning rate; 0 where it is not worth one."""
    height = min(FACTOR * learning_rate, max_lr) - learning_rate
    return height if height > 0 and height >= LEAST_RAISE * learning_rate else 0.0
