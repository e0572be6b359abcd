"""The perceptual weight: the smaller the L1 term has become, the more the picture's look may count."""

from typing import Any

from ddp.adaptive.saved import Saved
from ddp.adaptive.weights import bounded_perceptual

L1_FOLLOW = 2 / 51
"""Share of a step in the mean L1 term: an exponential mean over about 50 steps."""
RISE_BELOW = 0.010
RISE_PER_STEP = 0.0015
FALL_ABOVE = 0.018
FALL_PER_STEP = 0.002
"""Mean L1 terms below and above which the weight rises and falls, and by how much in each step."""
CAPS = ((0.008, 0.20), (0.012, 0.15))
CAP_ELSE = 0.10
"""Mean L1 terms below which the weight rises up to a cap, and the cap above all of them."""


class Perceptual:
    """`mean_l1` is the exponential mean of the L1 term, None before the first step."""

    def __init__(self, mean_l1: float | None = None) -> None:
        self.mean_l1 = mean_l1

    def learn(self, l1: float) -> None:
        """Take in a step's L1 term, finite."""
        self.mean_l1 = l1 if self.mean_l1 is None else (1 - L1_FOLLOW) * self.mean_l1 + L1_FOLLOW * l1

    def next(self, weight: float, configured: float) -> float:
        """The weight one step on, of a term with this configured weight.

        It rises to the cap only, but a cap that sinks does not pull it down.
        """
        if weight == 0 or self.mean_l1 is None:
            return weight
        if self.mean_l1 < RISE_BELOW:
            weight = max(weight, min(cap_at(self.mean_l1), weight + RISE_PER_STEP))
        elif self.mean_l1 > FALL_ABOVE:
            weight -= FALL_PER_STEP
        return bounded_perceptual(weight, configured)

    def state(self) -> dict[str, Any]:
        """Plain values."""
        return {"mean_l1": self.mean_l1}

    @classmethod
    def restored(cls, saved: Saved) -> "Perceptual":
        """What was saved; raises `ValueError`."""
        return cls(saved.number_or_none("mean_l1"))


def cap_at(mean_l1: float) -> float:
    """The weight up to which it rises at this mean L1 term."""
    for below, cap in CAPS:
        if mean_l1 < below:
            return cap
    return CAP_ELSE
