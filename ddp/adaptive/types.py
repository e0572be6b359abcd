"""Input and output of the controller: the observation of one step, and the change that it reports."""

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Observation:
    """One optimizer step, its values reduced over all ranks.

    `step` counts steps from 1. `terms` are the unweighted loss terms, means over ranks and micro-batches.
    `sharpness` is mean |neighbour difference| of the output over the target's, 1.0 where the target is flat.
    `grad_norm` is the L2 norm before clipping.
    """

    step: int
    terms: tuple[float, ...]
    sharpness: float
    grad_norm: float

    @property
    def is_finite(self) -> bool:
        """Whether every value is finite; otherwise the step was skipped, and the controller ignores it."""
        return all(map(math.isfinite, self.terms)) and math.isfinite(self.sharpness) and math.isfinite(self.grad_norm)


@dataclass(frozen=True)
class Change:
    """Change by the controller. `kind` is `mode`, `weights`, `perceptual`, `boost` or `safety reset`."""

    kind: str
    reason: str
    details: dict[str, Any]
