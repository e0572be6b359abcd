"""How low resolution is made, as weights on the pixels of the picture: the setting DEGRADATION for one scale.

LR pixel u of an axis is the sum over k of taps[k] times HR pixel s·u + first + k: equal to what
`ddp.vsr.prepare.resize` does away from the edges.

Legend: s = scale.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ddp.vsr.prepare.resize import BLUR_RADIUS, BLUR_SIGMA, keys_cubic

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
    pixels = np.arange(-FARTHEST, FARTHEST + 1, dtype=np.float64)
    if name == "blur-down":
        return _of(scale, 0.0, np.exp(-0.5 * (pixels / BLUR_SIGMA) ** 2) * (np.abs(pixels) <= BLUR_RADIUS))
    middle = (scale - 1) / 2
    return _of(scale, middle, keys_cubic((pixels - middle) / scale))


def enlarging_taps(degradation: Degradation) -> NDArray[np.float64]:
    """Return (s, 5): for each of s phases, the weights on 5 LR pixels, from 2 before on, that enlarge bicubically."""
    places = (np.arange(degradation.scale) - degradation.middle) / degradation.scale
    return keys_cubic(places[:, None] - np.arange(-2.0, 3.0))


def _of(scale: int, middle: float, weights: NDArray[np.float64]) -> Degradation:
    """Return the degradation with these weights (2 · FARTHEST + 1,) around s·u, as far as they are not 0."""
    used = np.flatnonzero(weights)
    first, last = int(used[0]), int(used[-1])
    taps = weights[first : last + 1] / weights.sum()
    return Degradation(scale, tuple(taps.tolist()), first - FARTHEST, middle)
