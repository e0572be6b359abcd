"""The loss weights: three shares that sum to 1, and the perceptual weight that takes its part of all of them."""

from collections.abc import Mapping
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


WEIGHT_NAMES = ("l1_weight", "ms_weight", "grad_weight", "perceptual_weight")
CLIP_NAME = "initial_grad_clip"
GRADIENT, PERCEPTUAL = 2, 3
NONE_HELD = (None, None, None, None)
EQUAL: Values = (1.0, 1.0, 1.0, 0.0)
"""Proportions where the controller's own are all 0; a perceptual term that is off stays off."""
VISIBLE = 1e-12
"""A change of a weight that is smaller does not count as one."""


@dataclass(frozen=True)
class Pins:
    """`weights` holds the pinned values in force, None where the controller decides; likewise `grad_clip`."""

    weights: tuple[float | None, ...] = NONE_HELD
    grad_clip: float | None = None

    @classmethod
    def of(cls, pins: Mapping[str, float]) -> "Pins":
        """The pins by lower-case names of settings; raises `ValueError` for a name that cannot be pinned."""
        unknown = pins.keys() - {*WEIGHT_NAMES, CLIP_NAME}
        if unknown:
            raise ValueError(f"{min(unknown)!r} cannot be pinned; what can is {', '.join((*WEIGHT_NAMES, CLIP_NAME))}.")
        return cls(tuple(pins.get(name) for name in WEIGHT_NAMES), pins.get(CLIP_NAME))

    def holds(self, index: int) -> bool:
        """Whether the weight of this term is pinned."""
        return self.weights[index] is not None

    def in_force(self, own: Values) -> Values:
        """The pinned values, and the rest of 1 shared by the other weights in the proportions of `own`.

        Proportions of 0 to 0 are equal ones; where nothing is left to share, or nobody to take it, the pinned values
        are scaled to sum to 1.
        """
        if self.weights == NONE_HELD:
            return own
        held = sum(value for value in self.weights if value is not None)
        takers = own if self._free(own) > 0 else EQUAL
        taking = self._free(takers)
        if held >= 1 or taking == 0:
            factor, held_factor = 0.0, 1 / held
        else:
            factor, held_factor = (1 - held) / taking, 1.0
        pairs = zip(takers, self.weights, strict=True)
        l1, ms, gradient, perceptual = (mine * factor if pin is None else pin * held_factor for mine, pin in pairs)
        return (l1, ms, gradient, perceptual)

    def reach(self, own: Values, target: Values, limit: float) -> float:
        """The largest part (0 to 1) of the way from `own` to `target` on which no weight moves more than `limit`.

        That holds for `own` and for the weights in force. With w and d the controller's own values and way, S and D
        their sums over the free weights, R the rest that these share, and s the part looked for, a weight in force
        moves by R s |d S - w D| / (S (S + s D)). 0 when no weight in force would visibly move.
        """
        way = [there - here for here, there in zip(own, target, strict=True)]
        free, change = self._free(own), self._free(way)
        rest = 1 - sum(value for value in self.weights if value is not None)
        pulls = [abs(way[i] * free - own[i] * change) for i in range(len(own)) if not self.holds(i)]
        pull = rest * max(pulls, default=0.0)
        if free <= 0 or pull <= VISIBLE * free * (free + change):
            return 0.0
        part = min(1.0, limit / max(map(abs, way)))
        braking = pull - limit * free * change
        return min(part, limit * free * free / braking) if braking > 0 else part

    def _free(self, values: Values | list[float]) -> float:
        return sum(value for value, pin in zip(values, self.weights, strict=True) if pin is None)
