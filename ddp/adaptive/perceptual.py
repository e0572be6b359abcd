"""The perceptual weight, which rises when the L1 term is small and falls when it is large."""

from collections import deque
from collections.abc import Iterable
from typing import Any

from ddp.adaptive.state_reader import StateReader
from ddp.adaptive.weights import bounded_perceptual

L1_FOLLOW = 2 / 51
"""Weight of a step in the mean L1 term: an exponential mean over about 50 steps."""
RISE_BELOW = 0.010
RISE_PER_STEP = 0.0015
FALL_ABOVE = 0.018
FALL_PER_STEP = 0.002
"""Mean L1 terms below and above which the weight rises and falls, and the change per step."""
CAPS = ((0.008, 0.20), (0.012, 0.15))
CAP_ELSE = 0.10
"""Pairs (mean L1 term, cap of the weight below it), and the cap above all of them."""


class PerceptualWeight:
    """Rule for the perceptual weight; `mean_l1` is the exponential mean of the L1 term, None before the first step."""

    def __init__(self, mean_l1: float | None = None) -> None:
        self.mean_l1 = mean_l1

    def learn(self, l1: float) -> None:
        """Add a step's finite L1 term."""
        self.mean_l1 = l1 if self.mean_l1 is None else (1 - L1_FOLLOW) * self.mean_l1 + L1_FOLLOW * l1

    def next(self, weight: float, configured: float) -> float:
        """Return the weight after one more step, given the configured weight of the term.

        The weight rises up to the cap only, but a falling cap does not reduce it.
        """
        if weight == 0 or self.mean_l1 is None:
            return weight
        if self.mean_l1 < RISE_BELOW:
            weight = max(weight, min(cap_at(self.mean_l1), weight + RISE_PER_STEP))
        elif self.mean_l1 > FALL_ABOVE:
            weight -= FALL_PER_STEP
        return bounded_perceptual(weight, configured)

    def state(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return {"mean_l1": self.mean_l1}

    @classmethod
    def restored(cls, saved: StateReader) -> "PerceptualWeight":
        """Return the saved rule. Raises `ValueError`."""
        return cls(saved.number_or_none("mean_l1"))


def cap_at(mean_l1: float) -> float:
    """Return the cap of the weight at this mean L1 term."""
    for below, cap in CAPS:
        if mean_l1 < below:
            return cap
    return CAP_ELSE


TREND_STEPS = 100
"""Number of steps that the trend covers."""


class WeightTrend:
    """Trend of the perceptual weight from points (step, weight in force after that step until the next point)."""

    def __init__(self, points: Iterable[tuple[int, float]]) -> None:
        self._points = deque(points)

    def note(self, step: int, weight: float) -> None:
        """Add the weight in force after `step`; drop points before the trend's range."""
        if self._points and self._points[-1][0] == step:
            self._points.pop()
        if not self._points or self._points[-1][1] != weight:
            self._points.append((step, weight))
        while len(self._points) > 1 and self._points[1][0] <= step - TREND_STEPS:
            self._points.popleft()

    @property
    def per_step(self) -> float:
        """Change per step over the `TREND_STEPS` steps up to the last point."""
        return (self._points[-1][1] - self._points[0][1]) / TREND_STEPS if self._points else 0.0

    def state(self) -> list[list[float]]:
        """Return the points, oldest first."""
        return [[step, weight] for step, weight in self._points]
