"""How sharp the output is against the target: the mean of the last steps, because one batch says little."""

from collections import deque
from collections.abc import Iterable

WINDOW = 20
"""Steps that the mean is taken of."""
NEEDED = 10
"""Steps without which there is no mean."""


class Sharpness:
    """1 is as sharp as the target, below is blurrier."""

    def __init__(self, values: Iterable[float] = ()) -> None:
        self._values = deque(values, maxlen=WINDOW)

    def learn(self, sharpness: float) -> None:
        """Take in a step's sharpness, finite."""
        self._values.append(sharpness)

    @property
    def mean(self) -> float | None:
        """Over the last steps; None while there are too few. Divided before it is summed, so that it stays finite."""
        count = len(self._values)
        return sum(value / count for value in self._values) if count >= NEEDED else None

    def state(self) -> list[float]:
        """The values, oldest first."""
        return list(self._values)
