"""The trend of the perceptual weight: its mean change per step over the last steps."""

from collections import deque
from collections.abc import Iterable

STEPS = 100
"""Steps that the trend looks back."""


class Trend:
    """Points (step, weight): the weight in force after that step and up to the next point."""

    def __init__(self, points: Iterable[tuple[int, float]]) -> None:
        self._points = deque(points)

    def note(self, step: int, weight: float) -> None:
        """The weight in force from after `step` on. Points that the trend cannot see any more are dropped."""
        if self._points and self._points[-1][0] == step:
            self._points.pop()
        if not self._points or self._points[-1][1] != weight:
            self._points.append((step, weight))
        while len(self._points) > 1 and self._points[1][0] <= step - STEPS:
            self._points.popleft()

    @property
    def per_step(self) -> float:
        """Change per step over the `STEPS` steps up to the last note."""
        return (self._points[-1][1] - self._points[0][1]) / STEPS if self._points else 0.0

    def state(self) -> list[list[float]]:
        """The points, oldest first."""
        return [[step, weight] for step, weight in self._points]
