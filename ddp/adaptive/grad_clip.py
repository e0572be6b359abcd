"""The gradient clip: tracks the 95th percentile of the norms of recent steps, between a floor and a ceiling."""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from typing import Any

from ddp.adaptive.state_reader import StateReader
from service.config.settings import RunConfig

NORMS_KEPT = 500
"""Number of recent norms from which the percentile is computed."""
NORMS_NEEDED = 100
"""Minimum number of norms; with fewer the clip does not move."""
PERCENTILE = 0.95
FOLLOW = 0.1
"""Weight of the percentile in the new clip, per step; the rest is the previous clip."""
FLOOR = 0.1
CEILING = 10.0
"""Bounds of the clip; an INITIAL_GRAD_CLIP outside them replaces the exceeded bound."""


class GradClip:
    """Adaptive gradient clip; `value` is a gradient norm, computed from norms before clipping."""

    def __init__(self, config: RunConfig) -> None:
        self._norms: deque[float] = deque()
        self._ordered: list[float] = []
        self.value = config.initial_grad_clip
        self.configure(config)

    def configure(self, config: RunConfig) -> None:
        """Apply other settings; with ADAPTIVE_GRAD_CLIP off the clip becomes the configured one immediately."""
        initial = config.initial_grad_clip
        self._floor, self._ceiling = min(FLOOR, initial), max(CEILING, initial)
        self._is_adaptive = config.adaptive_grad_clip
        self.value = self._bounded(self.value) if self._is_adaptive else initial

    def learn(self, norm: float) -> None:
        """Add a step's finite norm, and update the clip."""
        if len(self._norms) == NORMS_KEPT:
            del self._ordered[bisect_left(self._ordered, self._norms.popleft())]
        self._norms.append(norm)
        insort(self._ordered, norm)
        if self._is_adaptive and len(self._norms) >= NORMS_NEEDED:
            percentile = quantile(self._ordered, PERCENTILE)
            self.value = self._bounded((1 - FOLLOW) * self.value + FOLLOW * percentile)

    def state(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return {"value": self.value, "norms": list(self._norms)}

    @classmethod
    def restored(cls, config: RunConfig, saved: StateReader) -> "GradClip":
        """Return the saved clip with these settings. Raises `ValueError`."""
        clip = cls(config)
        clip._norms.extend(saved.numbers("norms")[-NORMS_KEPT:])
        clip._ordered = sorted(clip._norms)
        clip.value = saved.number("value", 0.0)
        clip.configure(config)
        return clip

    def _bounded(self, value: float) -> float:
        return min(max(value, self._floor), self._ceiling)


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return a quantile of ascending values, linearly interpolated, as NumPy's default (Hyndman and Fan, type 7)."""
    position = share * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    part = position - below
    return ordered[below] * (1 - part) + ordered[above] * part
