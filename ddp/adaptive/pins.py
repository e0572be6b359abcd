"""Pins: values that the user fixes, and the effect on the weights that the controller still moves."""

from collections.abc import Mapping
from dataclasses import dataclass

from ddp.adaptive.weights import Values
from service.loss_terms import LOSS_TERMS

WEIGHT_NAMES = tuple(term.setting.lower() for term in LOSS_TERMS)
CLIP_NAME = "initial_grad_clip"
GRADIENT, PERCEPTUAL = 2, 3
NONE_HELD = (None, None, None, None)
EQUAL: Values = (1.0, 1.0, 1.0, 0.0)
"""Proportions if the controller's own are all 0; a perceptual term that is off stays off."""
MIN_CHANGE = 1e-12
"""Smallest change of a weight that counts as a change."""


@dataclass(frozen=True)
class Pins:
    """Pinned values in force; None where the controller decides."""

    weights: tuple[float | None, ...] = NONE_HELD
    grad_clip: float | None = None

    @classmethod
    def of(cls, pins: Mapping[str, float]) -> "Pins":
        """Return the pins, given by lower-case setting names. Raises `ValueError` for a name that cannot be pinned."""
        unknown = pins.keys() - {*WEIGHT_NAMES, CLIP_NAME}
        if unknown:
            raise ValueError(f"{min(unknown)!r} cannot be pinned; what can is {', '.join((*WEIGHT_NAMES, CLIP_NAME))}.")
        return cls(tuple(pins.get(name) for name in WEIGHT_NAMES), pins.get(CLIP_NAME))

    def holds(self, index: int) -> bool:
        """Whether the weight of this term is pinned."""
        return self.weights[index] is not None

    def in_force(self, own: Values) -> Values:
        """Return the pinned values, and the rest of 1 distributed to the other weights in proportion to `own`.

        If all of those are 0, they get equal parts. If nothing is left, or no weight is free, the pinned values are
        scaled to sum to 1.
        """
        if self.weights == NONE_HELD:
            return own
        held = sum(value for value in self.weights if value is not None)
        free_weights = own if self._free(own) > 0 else EQUAL
        free_sum = self._free(free_weights)
        if held >= 1 or free_sum == 0:
            factor, held_factor = 0.0, 1 / held
        else:
            factor, held_factor = (1 - held) / free_sum, 1.0
        pairs = zip(free_weights, self.weights, strict=True)
        l1, ms, gradient, perceptual = (mine * factor if pin is None else pin * held_factor for mine, pin in pairs)
        return (l1, ms, gradient, perceptual)

    def reach(self, own: Values, target: Values, limit: float) -> float:
        """Return the largest part (0 to 1) of the move from `own` to `target` with which no weight exceeds `limit`.

        This holds for `own` and for the weights in force. With w and d the controller's own values and differences, S
        and D their sums over the free weights, R the rest that these share, and s the result, a weight in force moves
        by R s |d S - w D| / (S (S + s D)). Returns 0 if no weight in force would move by MIN_CHANGE.
        """
        way = [there - here for here, there in zip(own, target, strict=True)]
        free, change = self._free(own), self._free(way)
        rest = 1 - sum(value for value in self.weights if value is not None)
        pulls = [abs(way[i] * free - own[i] * change) for i in range(len(own)) if not self.holds(i)]
        pull = rest * max(pulls, default=0.0)
        if free <= 0 or pull <= MIN_CHANGE * free * (free + change):
            return 0.0
        part = min(1.0, limit / max(map(abs, way)))
        braking = pull - limit * free * change
        return min(part, limit * free * free / braking) if braking > 0 else part

    def _free(self, values: Values | list[float]) -> float:
        return sum(value for value, pin in zip(values, self.weights, strict=True) if pin is None)
