"""Where the shares of the loss terms are to go, judged by how sharp the output is."""

from dataclasses import dataclass

from ddp.adaptive.weights import LIMIT, Weights, bounded_shares

STABLE_BLURRY = 0.75
STABLE_SHARP = 0.92
STABLE_FACTOR = 1.05
"""Stable: below, the gradient share is raised by the factor; above `STABLE_SHARP` it is lowered."""
AGGRESSIVE_BLURRY = 0.72
AGGRESSIVE_FACTOR = 1.15
"""Aggressive: below, the gradient share is raised by the factor, and to its share of entry at least."""
AGGRESSIVE_GRADIENT = 0.30
AGGRESSIVE_MS = 0.15
"""Shares that Aggressive goes to at least and at most; L1 has the rest, 0.55 at first."""
GRADIENT_CEILING = 0.5
MS_CEILING = 0.2
"""Shares to which raising the gradient share goes at most, and to which it lowers MS."""
SHARP_FACTOR = 0.95
SHARP_FLOOR = 0.15
"""A sharp output lowers the gradient share by the factor, down to the floor."""


@dataclass(frozen=True)
class Target:
    """Weights to move towards, and why."""

    weights: Weights
    reason: str


def stable_target(own: Weights, sharpness: float) -> Target | None:
    """More weight on gradients where the output is blurry, less where it is sharp, otherwise nothing to do."""
    _, ms, gradient = own.shares
    if sharpness < STABLE_BLURRY:
        reason = f"blurry: sharpness {sharpness:.3f} is below {STABLE_BLURRY}"
        return _target(own, min(MS_CEILING, ms), _raised(gradient, STABLE_FACTOR), reason)
    if sharpness > STABLE_SHARP:
        lowered = min(gradient, max(SHARP_FLOOR, gradient * SHARP_FACTOR))
        return _target(own, ms, lowered, f"sharp: sharpness {sharpness:.3f} is above {STABLE_SHARP}")
    return None


def aggressive_target(own: Weights, sharpness: float) -> Target | None:
    """Much more weight on gradients while the output is blurry."""
    if sharpness >= AGGRESSIVE_BLURRY:
        return None
    _, ms, gradient = own.shares
    raised = max(AGGRESSIVE_GRADIENT, _raised(gradient, AGGRESSIVE_FACTOR))
    reason = f"blurry on a plateau: sharpness {sharpness:.3f} is below {AGGRESSIVE_BLURRY}"
    return _target(own, min(AGGRESSIVE_MS, ms), raised, reason)


def _raised(gradient: float, factor: float) -> float:
    return max(gradient, min(GRADIENT_CEILING, gradient * factor))


def _target(own: Weights, ms: float, gradient: float, reason: str) -> Target:
    """Each share is limited by itself: on a straight way, the one that has far to go would hold up the other."""
    _, own_ms, own_gradient = own.shares
    shares = bounded_shares(_nearer(own_ms, ms), _nearer(own_gradient, gradient))
    return Target(Weights(shares, own.perceptual), reason)


def _nearer(here: float, there: float) -> float:
    return min(max(there, here - LIMIT), here + LIMIT)
