"""The loss weights in force and their moves: never more than a hundredth per adjustment, whatever the reason."""

from typing import Any

from ddp.adaptive.pins import Pins
from ddp.adaptive.state_reader import StateReader
from ddp.adaptive.weights import LIMIT, PERCEPTUAL_CEILING, Shares, Values, Weights
from service.config.settings import RunConfig

WHOLE = 1e-9
"""A move that is so little short of its target reaches it, so that a return has an end."""
ROUNDING = 1e-6
"""How far from 1 the shares of a saved state may sum."""


class LossBalance:
    """`own` are the controller's weights; `pins` hold some of them at other values in force.

    `configured` are the settings' weights. While `is_returning`, the shares are on their way back to those.
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
        """Whether there is a perceptual term to weigh."""
        return self.configured.perceptual > 0

    @property
    def in_force(self) -> Values:
        """The weights that the loss is made of; they sum to 1."""
        return self.pins.in_force(self.own.values)

    def configure(self, config: RunConfig) -> bool:
        """Take other settings; returns whether these configure other weights, to which the shares then return."""
        configured = Weights.configured(config, self._has_perceptual)
        if configured == self.configured:
            return False
        self.configured = configured
        self._fit_perceptual()
        self.turn_back()
        return True

    def turn_back(self) -> None:
        """Let the shares return to the configured ones, by limited moves."""
        self.is_returning = self.own.shares != self.configured.shares

    def can_move(self, wanted: Weights) -> bool:
        """Whether a move towards these weights would change any weight in force."""
        return self.pins.reach(self.own.values, wanted.values, LIMIT) > 0

    def move(self, wanted: Weights) -> None:
        """Make one limited move towards these weights, if it would change any weight in force."""
        own, target = self.own, wanted.values
        part = self.pins.reach(own.values, target, LIMIT)
        if part > 1 - WHOLE:
            self.own = wanted
        elif part > 0:
            pairs = zip(own.values, target, strict=True)
            l1, ms, gradient, perceptual = (here + part * (there - here) for here, there in pairs)
            self.own = Weights.of_values((l1, ms, gradient, perceptual))
            if wanted.shares == own.shares:  # exactly, though the values were divided by what is left of 1
                self.own = Weights(own.shares, perceptual)
        if self.own.shares == self.configured.shares:
            self.is_returning = False

    def state(self) -> dict[str, Any]:
        """Plain values. Pins are settings and no part of it."""
        return {
            "shares": list(self.own.shares),
            "perceptual": self.own.perceptual,
            "configured": [*self.configured.shares, self.configured.perceptual],
            "is_returning": self.is_returning,
        }

    def restore(self, saved: StateReader) -> bool:
        """Go on with the saved weights; returns whether the settings now configure others than when it was saved.

        Raises `ValueError`, and then nothing has changed.
        """
        own = Weights(_shares(saved.numbers("shares", 0.0, 1.0)), saved.number("perceptual", 0.0, 1.0))
        is_returning = saved.truth("is_returning")
        configured = saved.numbers("configured", 0.0, 1.0)
        self.own, self.is_returning = own, is_returning
        self._fit_perceptual()
        has_changed = configured != [*self.configured.shares, self.configured.perceptual]
        if has_changed:
            self.turn_back()
        return has_changed

    def _fit_perceptual(self) -> None:
        """A term that has gone has no weight; one that is new begins at its configured weight."""
        if not self.uses_perceptual:
            self.own = Weights(self.own.shares, 0.0)
        elif self.own.perceptual == 0:
            self.own = Weights(self.own.shares, self.configured.perceptual)
            self._fit_ceiling()

    def _fit_ceiling(self) -> None:
        """Scaled to sum to 1 with the others, a configured weight may lie above the controller's ceiling."""
        self.own = Weights(self.own.shares, min(self.own.perceptual, PERCEPTUAL_CEILING))


def _shares(values: list[float]) -> Shares:
    if len(values) != 3 or abs(sum(values) - 1) > ROUNDING:
        raise ValueError(f"The controller's saved shares are {values}, but must be three that sum to 1.")
    l1, ms, gradient = values
    return (l1, ms, gradient)
