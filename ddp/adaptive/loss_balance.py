"""The loss weights in force and their moves: at most 0.01 per adjustment."""

from typing import Any

from ddp.adaptive.pins import Pins
from ddp.adaptive.state_reader import StateReader
from ddp.adaptive.weights import LIMIT, PERCEPTUAL_CEILING, Shares, Values, Weights
from service.config.settings import RunConfig

COMPLETE_TOLERANCE = 1e-9
"""A move that misses its target by at most this share reaches it, so that a return ends."""
SUM_TOLERANCE = 1e-6
"""Maximum deviation from 1 of the sum of saved shares."""


class LossBalance:
    """Loss weights: `own` are the controller's, of which `pins` replace some by other values in force.

    `configured` are the settings' weights. While `is_returning`, the shares move back to them.
    """

    def __init__(self, config: RunConfig, has_perceptual: bool) -> None:
        self._has_perceptual = has_perceptual
        self.configured = Weights.configured(config, has_perceptual)
        self.own = self.configured
        if config.adaptive_loss_weights:
            self._fit_ceiling()
        self.pins = Pins()
        self.is_returning = False

    @property
    def uses_perceptual(self) -> bool:
        """Whether there is a perceptual term."""
        return self.configured.perceptual > 0

    @property
    def in_force(self) -> Values:
        """Weights in force; they sum to 1."""
        return self.pins.in_force(self.own.values)

    def configure(self, config: RunConfig) -> bool:
        """Apply other settings; return whether they configure other weights, to which the shares then return."""
        configured = Weights.configured(config, self._has_perceptual)
        if configured == self.configured:
            return False
        self.configured = configured
        self._fit_perceptual()
        self.begin_return()
        return True

    def begin_return(self) -> None:
        """Start to return the shares to the configured ones, by limited moves."""
        self.is_returning = self.own.shares != self.configured.shares

    def can_move(self, wanted: Weights) -> bool:
        """Whether a move towards these weights would change any weight in force."""
        return self.pins.reach(self.own.values, wanted.values, LIMIT) > 0

    def move(self, wanted: Weights) -> None:
        """Make one limited move towards these weights, if it would change any weight in force."""
        own, target = self.own, wanted.values
        part = self.pins.reach(own.values, target, LIMIT)
        if part > 1 - COMPLETE_TOLERANCE:
            self.own = wanted
        elif part > 0:
            pairs = zip(own.values, target, strict=True)
            l1, ms, gradient, perceptual = (here + part * (there - here) for here, there in pairs)
            self.own = Weights.of_values((l1, ms, gradient, perceptual))
            if wanted.shares == own.shares:  # restore them exactly, without the rounding of the division
                self.own = Weights(own.shares, perceptual)
        if self.own.shares == self.configured.shares:
            self.is_returning = False

    def state(self) -> dict[str, Any]:
        """Return plain values for a checkpoint, without the pins, which are settings."""
        return {
            "shares": list(self.own.shares),
            "perceptual": self.own.perceptual,
            "configured": [*self.configured.shares, self.configured.perceptual],
            "is_returning": self.is_returning,
        }

    def restore(self, saved: StateReader) -> bool:
        """Restore saved weights; return whether the settings configure other weights than at the time of saving.

        Raises `ValueError`, and then changes nothing.
        """
        own = Weights(_shares(saved.numbers("shares", 0.0, 1.0)), saved.number("perceptual", 0.0, 1.0))
        is_returning = saved.truth("is_returning")
        configured = saved.numbers("configured", 0.0, 1.0)
        self.own, self.is_returning = own, is_returning
        self._fit_perceptual()
        has_changed = configured != [*self.configured.shares, self.configured.perceptual]
        if has_changed:
            self.begin_return()
        return has_changed

    def _fit_perceptual(self) -> None:
        """Set the perceptual weight to 0 without the term, and to its configured weight if the term is new."""
        if not self.uses_perceptual:
            self.own = Weights(self.own.shares, 0.0)
        elif self.own.perceptual == 0:
            self.own = Weights(self.own.shares, self.configured.perceptual)
            self._fit_ceiling()

    def _fit_ceiling(self) -> None:
        """Limit the perceptual weight to the controller's ceiling, which a configured weight may exceed."""
        self.own = Weights(self.own.shares, min(self.own.perceptual, PERCEPTUAL_CEILING))


def _shares(values: list[float]) -> Shares:
    if len(values) != 3 or abs(sum(values) - 1) > SUM_TOLERANCE:
        raise ValueError(f"The controller's saved shares are {values}, but must be three that sum to 1.")
    l1, ms, gradient = values
    return (l1, ms, gradient)
