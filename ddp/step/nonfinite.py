"""Steps whose loss or gradient was not finite: counted, and a reason to go back when too many follow each other.

Such a step changed nothing: the optimizer skipped it on every rank, on the device. Here the host learns of it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ddp.metrics.step_metrics import StepMetrics


@dataclass
class NonFiniteSteps:
    """`total` over the run; `in_a_row` up to the newest step seen; `row_began` is the first step of that row.

    `rollbacks` counts those since a good step beyond `worst_step`, where things went wrong the latest.
    """

    total: int = 0
    in_a_row: int = 0
    streak_start: int | None = None
    rollbacks: int = 0
    worst_step: int = 0

    def update(self, rows: Iterable[StepMetrics]) -> list[int]:
        """Look at steps in their order; returns those that were skipped."""
        found = []
        for row in rows:
            if not row.is_skipped:
                self.in_a_row, self.row_began = 0, None
                self.rollbacks = 0 if row.step > self.worst_step else self.rollbacks
                continue
            found.append(row.step)
            self.total += 1
            self.in_a_row += 1
            self.row_began = row.step if self.row_began is None else self.row_began
        return found

    def note_rollback(self, row_began: int) -> int:
        """The run is about to go back because of a row; how often it has done so without getting beyond it."""
        self.rollbacks += 1
        self.worst_step = max(self.worst_step, row_began)
        return self.rollbacks

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return asdict(self)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint: its row of bad steps. What is counted over the run does not go back with it."""
        self.in_a_row, self.row_began = state["in_a_row"], state["row_began"]
        self.total = max(self.total, state["total"])
        self.rollbacks = max(self.rollbacks, state["rollbacks"])
        self.worst_step = max(self.worst_step, state["worst_step"])
