"""The controller of loss weights and gradient clip: fixed at the configured values, always in mode `Stable`.

It decides nothing yet, so every rank agrees without a word; what it reports are the values really in force.
"""

from dataclasses import dataclass
from typing import Any

from service.settings import RunConfig


@dataclass(frozen=True)
class Controller:
    """What is in force at a step. `weights` in the order of the loss terms: L1, MS, gradient, perceptual."""

    weights: tuple[float, float, float, float]
    grad_clip: float

    @classmethod
    def of(cls, config: RunConfig, *, has_perceptual: bool) -> "Controller":
        """The configured weights; the perceptual one is 0 when there is no backbone to compute the term."""
        perceptual = config.perceptual_weight if has_perceptual else 0.0
        weights = (config.l1_weight, config.ms_weight, config.grad_weight, perceptual)
        return cls(weights, config.initial_grad_clip)

    def report(self) -> dict[str, Any]:
        """The record's keys that describe the controller."""
        l1, ms, gradient, perceptual = self.weights
        return {
            "l1_weight_current": l1,
            "ms_weight_current": ms,
            "gradient_weight_current": gradient,
            "perceptual_weight_current": perceptual,
            "gradient_clip_val": self.grad_clip,
            "adaptive_mode": "Stable",
            "adaptive_is_cooldown": False,
            "adaptive_cooldown_remaining": 0,
            "adaptive_plateau_counter": 0,
            "adaptive_lr_boost_available": False,
            "adaptive_perceptual_trend": 0.0,
        }
