"""Counter of steps whose loss or gradient was not finite; too many in a row cause a rollback.

Such a step changes no weights: the optimizer skips it on the device, on every rank. This module counts it on the host.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ddp.metrics.step_metrics import StepMetrics

_SAVED_STREAK_START = "row_began"
"""Key of `streak_start` in checkpoints."""


@dataclass
class NonFiniteSteps:
    """Counts of skipped steps: `total` of the run, and `in_a_row` of the current streak, which began at `streak_start`.

    `rollbacks` counts the rollbacks since the last finite step beyond `worst_step`, the latest start of a streak.
    """

    total: int = 0
    in_a_row: int = 0
    streak_start: int | None = None
    rollbacks: int = 0
    worst_step: int = 0

    def update(self, steps: Iterable[StepMetrics]) -> list[int]:
        """Count the skipped steps among consecutive steps; return their numbers."""
        skipped = []
        for step in steps:
            if not step.is_skipped:
                self.in_a_row, self.streak_start = 0, None
                self.rollbacks = 0 if step.step > self.worst_step else self.rollbacks
                continue
            skipped.append(step.step)
            self.total += 1
            self.in_a_row += 1
            self.streak_start = step.step if self.streak_start is None else self.streak_start
        return skipped

    def note_rollback(self, streak_start: int) -> int:
        """Count a rollback caused by a streak; return the number of rollbacks without a finite step beyond it."""
        self.rollbacks += 1
        self.worst_step = max(self.worst_step, streak_start)
        return self.rollbacks

    def state(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        values = asdict(self)
        values[_SAVED_STREAK_START] = values.pop("streak_start")
        return values

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the streak of a checkpoint; totals of the run never decrease."""
        self.in_a_row, self.streak_start = state["in_a_row"], state[_SAVED_STREAK_START]
        self.total = max(self.total, state["total"])
        self.rollbacks = max(self.rollbacks, state["rollbacks"])
        self.worst_step = max(self.worst_step, state["worst_step"])
