"""Steps whose loss or gradient was not finite: counted, and a reason to go back when too many follow each other.

Such a step changed nothing: the optimizer skipped it on every rank, on the device. Here the host learns of it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ddp.metrics.step_metrics import StepMetrics

_SAVED_STREAK_START = "row_began"
"""The key of `streak_start` in checkpoints."""


@dataclass
class NonFiniteSteps:
    """`total` over the run; `in_a_row` is the streak up to the newest step seen, `streak_start` its first step.

    `rollbacks` counts those since a good step beyond `worst_step`, the latest step at which a streak began.
    """

    total: int = 0
    in_a_row: int = 0
    streak_start: int | None = None
    rollbacks: int = 0
    worst_step: int = 0

    def update(self, rows: Iterable[StepMetrics]) -> list[int]:
        """Count steps, given in their order; returns those that were skipped."""
        found = []
        for row in rows:
            if not row.is_skipped:
                self.in_a_row, self.streak_start = 0, None
                self.rollbacks = 0 if row.step > self.worst_step else self.rollbacks
                continue
            found.append(row.step)
            self.total += 1
            self.in_a_row += 1
            self.streak_start = row.step if self.streak_start is None else self.streak_start
        return found

    def note_rollback(self, streak_start: int) -> int:
        """Count a rollback because of a streak; returns how many there were without a good step beyond it."""
        self.rollbacks += 1
        self.worst_step = max(self.worst_step, streak_start)
        return self.rollbacks

    def state(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        values = asdict(self)
        values[_SAVED_STREAK_START] = values.pop("streak_start")
        return values

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over the streak of a checkpoint; what is counted over the run never decreases."""
        self.in_a_row, self.streak_start = state["in_a_row"], state[_SAVED_STREAK_START]
        self.total = max(self.total, state["total"])
        self.rollbacks = max(self.rollbacks, state["rollbacks"])
        self.worst_step = max(self.worst_step, state["worst_step"])
