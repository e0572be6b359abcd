"""The gradient clip: follows the 95th percentile of the norms of the last steps, between a floor and a ceiling."""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from typing import Any

from ddp.adaptive.state_reader import StateReader
from service.config.settings import RunConfig

NORMS_KEPT = 500
"""Norms the percentile is taken of."""
NORMS_NEEDED = 100
"""Norms without which the clip stays where it is."""
PERCENTILE = 0.95
FOLLOW = 0.1
"""Share of the percentile in the new clip, per step; the rest is the clip before."""
FLOOR = 0.1
CEILING = 10.0
"""Bounds of the clip; a configured INITIAL_GRAD_CLIP outside them takes the place of the one it passes."""


class GradClip:
    """`value` is the clip, a gradient norm; what it learns from are norms before clipping."""

    def __init__(self, config: RunConfig) -> None:
        self._norms: deque[float] = deque()
        self._ordered: list[float] = []
        self.value = config.initial_grad_clip
        self.configure(config)

    def configure(self, config: RunConfig) -> None:
        """Follow other settings from now on; with ADAPTIVE_GRAD_CLIP off the clip is the configured one at once."""
        initial = config.initial_grad_clip
        self._floor, self._ceiling = min(FLOOR, initial), max(CEILING, initial)
        self._is_adaptive = config.adaptive_grad_clip
        self.value = self._bounded(self.value) if self._is_adaptive else initial

    def learn(self, norm: float) -> None:
        """Take in a step's norm, finite, and move the clip."""
        if len(self._norms) == NORMS_KEPT:
            del self._ordered[bisect_left(self._ordered, self._norms.popleft())]
        self._norms.append(norm)
        insort(self._ordered, norm)
        if self._is_adaptive and len(self._norms) >= NORMS_NEEDED:
            percentile = quantile(self._ordered, PERCENTILE)
            self.value = self._bounded((1 - FOLLOW) * self.value + FOLLOW * percentile)

    def state(self) -> dict[str, Any]:
        """Plain values."""
        return {"value": self.value, "norms": list(self._norms)}

    @classmethod
    def restored(cls, config: RunConfig, saved: StateReader) -> "GradClip":
        """The clip that was saved, under these settings; raises `ValueError`."""
        clip = cls(config)
        clip._norms.extend(saved.numbers("norms")[-NORMS_KEPT:])
        clip._ordered = sorted(clip._norms)
        clip.value = saved.number("value", 0.0)
        clip.configure(config)
        return clip

    def _bounded(self, value: float) -> float:
        return min(max(value, self._floor), self._ceiling)


def quantile(ordered: Sequence[float], share: float) -> float:
    """The quantile of ascending values, linear between neighbours, as NumPy's default (Hyndman and Fan, type 7)."""
    position = share * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    part = position - below
    return ordered[below] * (1 - part) + ordered[above] * part
