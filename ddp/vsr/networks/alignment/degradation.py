"""How low resolution is made, as weights on the pixels of the picture: the setting DEGRADATION for one scale.

LR pixel u of an axis is the sum over k of taps[k] times HR pixel s·u + first + k: equal to what
`ddp.vsr.prepare.resize` does away from the edges.

Legend: s = scale.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from ddp.vsr.prepare.resize import BLUR_RADIUS, BLUR_SIGMA

FARTHEST = 9
"""The farthest of all taps, that of `bicubic` at a scale of 4, in HR pixels from s·u."""


@dataclass(frozen=True)
class Degradation:
    """One axis: taps that sum to 1, where the first one lies, and the middle of an LR pixel, both from s·u on."""

    scale: int
    taps: tuple[float, ...]
    first: int
    middle: float

    @property
    def last(self) -> int:
        """Return where the last tap lies, from s·u on."""
        return self.first + len(self.taps) - 1


def degradation_of(name: str, scale: int) -> Degradation:
    """Return a degradation by the name that the setting has."""
    if name == "blur-down":
        return _of(scale, 0.0, lambda x: math.exp(-0.5 * (x / BLUR_SIGMA) ** 2) if abs(x) <= BLUR_RADIUS else 0.0)
    return _of(scale, (scale - 1) / 2, lambda x: keys_cubic(x / scale))


def keys_cubic(x: float) -> float:
    """Return Keys' kernel with a = -0.5 (R. Keys, "Cubic convolution interpolation", 1981)."""
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def enlarging_taps(degradation: Degradation) -> list[list[float]]:
    """Return, for each of s phases, the weights on 5 LR pixels, from 2 before on, that enlarge bicubically."""
    s = degradation.scale
    places = [(phase - degradation.middle) / s for phase in range(s)]
    return [[keys_cubic(place - pixel) for pixel in range(-2, 3)] for place in places]


def _of(scale: int, middle: float, kernel: Callable[[float], float]) -> Degradation:
    weights = {k: kernel(k - middle) for k in range(-FARTHEST, FARTHEST + 1)}
    used = [k for k, weight in weights.items() if weight != 0.0]
    total = sum(weights.values())
    taps = tuple(weights[k] / total for k in range(used[0], used[-1] + 1))
    return Degradation(scale, taps, used[0], middle)
