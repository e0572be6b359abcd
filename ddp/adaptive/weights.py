"""The loss weights: three shares that sum to 1, and the perceptual weight that takes its part of all of them."""

from dataclasses import dataclass

from service.config.settings import RunConfig

Shares = tuple[float, float, float]
Values = tuple[float, float, float, float]

LIMIT = 0.01
"""The farthest that any single weight moves in one adjustment."""
SHARE_FLOOR = 0.05
"""Lowest share of the MS and of the gradient term that the controller moves to."""
L1_FLOOR = 0.1
"""Lowest share of the L1 term; its highest, 0.9, follows from the two floors above."""
PERCEPTUAL_FLOOR = 0.05
PERCEPTUAL_CEILING = 0.25
"""Hard bounds of the perceptual weight, where the term is in use and not configured below them."""


@dataclass(frozen=True)
class Weights:
    """`shares` of L1, MS and gradient sum to 1; `perceptual` is the weight of the fourth term, 0 where it is off."""

    shares: Shares
    perceptual: float

    @property
    def values(self) -> Values:
        """Weights in the order of the loss terms; they sum to 1."""
        l1, ms, gradient = self.shares
        rest = 1 - self.perceptual
        return (l1 * rest, ms * rest, gradient * rest, self.perceptual)

    @classmethod
    def of_values(cls, values: Values) -> "Weights":
        """The weights with these values; the perceptual one must be below 1."""
        rest = 1 - values[3]
        ms, gradient = values[1] / rest, values[2] / rest
        return cls((1 - ms - gradient, ms, gradient), values[3])

    @classmethod
    def configured(cls, config: RunConfig, has_perceptual: bool) -> "Weights":
        """The settings' weights, scaled so that all four sum to 1; without the term there is no perceptual weight."""
        perceptual = config.perceptual_weight if has_perceptual else 0.0
        three = config.l1_weight + config.ms_weight + config.grad_weight
        shares = (config.l1_weight / three, config.ms_weight / three, config.grad_weight / three)
        return cls(shares, perceptual / (three + perceptual))


def bounded_shares(ms: float, gradient: float) -> Shares:
    """The shares nearest to these that keep all floors; L1 has what MS and gradient leave."""
    ms, gradient = max(SHARE_FLOOR, ms), max(SHARE_FLOOR, gradient)
    room = 1 - L1_FLOOR - 2 * SHARE_FLOOR
    excess = (ms - SHARE_FLOOR) + (gradient - SHARE_FLOOR)
    if excess > room:
        ms = SHARE_FLOOR + (ms - SHARE_FLOOR) * room / excess
        gradient = SHARE_FLOOR + (gradient - SHARE_FLOOR) * room / excess
    return (1 - ms - gradient, ms, gradient)


def bounded_perceptual(weight: float, configured: float) -> float:
    """The weight of a term in use, within its hard bounds; one that is configured below the floor may stay there."""
    return min(max(weight, min(PERCEPTUAL_FLOOR, configured)), PERCEPTUAL_CEILING)
