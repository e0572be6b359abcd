"""The loss weights: three shares that sum to 1, scaled down by the perceptual weight."""

from dataclasses import dataclass

from service.config.settings import RunConfig

Shares = tuple[float, float, float]
Values = tuple[float, float, float, float]

LIMIT = 0.01
"""Maximum change of a weight in one adjustment."""
SHARE_FLOOR = 0.05
"""Minimum share of the MS and of the gradient term."""
L1_FLOOR = 0.1
"""Minimum share of the L1 term; its maximum, 0.9, follows from the other two floors."""
PERCEPTUAL_FLOOR = 0.05
PERCEPTUAL_CEILING = 0.25
"""Bounds of the perceptual weight if the term is used, and not configured below them."""


@dataclass(frozen=True)
class Weights:
    """Loss weights: `shares` of L1, MS and gradient sum to 1; `perceptual` is the fourth term's weight, 0 if off."""

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
        """Return the weights with these values; the perceptual one must be below 1."""
        rest = 1 - values[3]
        ms, gradient = values[1] / rest, values[2] / rest
        return cls((1 - ms - gradient, ms, gradient), values[3])

    @classmethod
    def configured(cls, config: RunConfig, has_perceptual: bool) -> "Weights":
        """Return the settings' weights, scaled to sum to 1; without the term the perceptual weight is 0."""
        perceptual = config.perceptual_weight if has_perceptual else 0.0
        three = config.l1_weight + config.ms_weight + config.grad_weight
        shares = (config.l1_weight / three, config.ms_weight / three, config.grad_weight / three)
        return cls(shares, perceptual / (three + perceptual))


def bounded_shares(ms: float, gradient: float) -> Shares:
    """Return the closest shares that respect all floors; L1 has the rest."""
    ms, gradient = max(SHARE_FLOOR, ms), max(SHARE_FLOOR, gradient)
    room = 1 - L1_FLOOR - 2 * SHARE_FLOOR
    excess = (ms - SHARE_FLOOR) + (gradient - SHARE_FLOOR)
    if excess > room:
        ms = SHARE_FLOOR + (ms - SHARE_FLOOR) * room / excess
        gradient = SHARE_FLOOR + (gradient - SHARE_FLOOR) * room / excess
    return (1 - ms - gradient, ms, gradient)


def bounded_perceptual(weight: float, configured: float) -> float:
    """Limit the weight of a used term to its bounds; a weight configured below the floor may stay there."""
    return min(max(weight, min(PERCEPTUAL_FLOOR, configured)), PERCEPTUAL_CEILING)
