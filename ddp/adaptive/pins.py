"""Values that a person holds against the controller, and what they leave for it to move."""

from collections.abc import Mapping
from dataclasses import dataclass

from ddp.adaptive.weights import Values
from service.loss_terms import LOSS_TERMS

WEIGHT_NAMES = tuple(term.setting.lower() for term in LOSS_TERMS)
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
