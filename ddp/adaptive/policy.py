"""The policy of the controller: its modes, how sharp the output is, and where the loss shares are to go."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from ddp.adaptive.weights import LIMIT, Weights, bounded_shares
from service.config.settings import RunConfig

STABLE_INTERVAL = 50
AGGRESSIVE_INTERVAL = 10
"""Weights may be adjusted when the number of steps passes a multiple of these."""
ENTER_BELOW = 0.70
LEAVE_ABOVE = 0.75
"""Sharpness below which a plateau begins Aggressive, and above which Aggressive has done its work."""
LEAST_AGGRESSIVE_STEPS = 50
MOST_AGGRESSIVE_STEPS = 5000
"""Steps of Aggressive before sharpness can end it, and after which it ends in any case."""

SAFETY_REST_STEPS = 5000
"""Steps after a safety reset that gave up the weights, before sharpness may move them again."""


class Mode(StrEnum):
    """Warmup and Settling move no weights; Stable seldom moves them; Aggressive often, towards sharper output."""

    WARMUP = "Warmup"
    SETTLING = "Settling"
    STABLE = "Stable"
    AGGRESSIVE = "Aggressive"


def mode_at(steps_done: int, config: RunConfig, aggressive_since: int | None) -> Mode:
    """The mode after so many steps: Warmup and Settling by the step alone, so that a resume repeats neither."""
    if steps_done < config.adaptive_warmup_steps:
        return Mode.WARMUP
    if steps_done < settled_at(config):
        return Mode.SETTLING
    return Mode.STABLE if aggressive_since is None else Mode.AGGRESSIVE


def settled_at(config: RunConfig) -> int:
    """Steps done at the end of Settling."""
    return config.adaptive_warmup_steps + config.settling_steps


def interval_of(mode: Mode) -> int:
    """Steps between two adjustments at most."""
    return AGGRESSIVE_INTERVAL if mode is Mode.AGGRESSIVE else STABLE_INTERVAL


def reason_to_leave(aggressive_steps: int, sharpness: float | None) -> str | None:
    """Why Aggressive ends now, after so many steps of it; None when it goes on."""
    if aggressive_steps >= MOST_AGGRESSIVE_STEPS:
        return f"Aggressive has lasted {aggressive_steps} steps; {MOST_AGGRESSIVE_STEPS} are the most"
    if aggressive_steps >= LEAST_AGGRESSIVE_STEPS and sharpness is not None and sharpness > LEAVE_ABOVE:
        return f"sharp enough: sharpness {sharpness:.3f} is above {LEAVE_ABOVE}"
    return None


def reason_to_enter(counter: int, sharpness: float | None) -> str | None:
    """Why Aggressive begins now, on a plateau of `counter` steps; None when it does not."""
    if is_blurry(sharpness):
        return f"blurry plateau: sharpness {sharpness:.3f} is below {ENTER_BELOW}, no improvement in {counter} steps"
    return None


def is_blurry(sharpness: float | None) -> bool:
    """Whether the output is too blurry for a plateau to be accepted."""
    return sharpness is not None and sharpness < ENTER_BELOW


SHARPNESS_WINDOW = 20
"""Steps that the mean is taken of."""

SHARPNESS_NEEDED = 10
"""Steps without which there is no mean."""


class Sharpness:
    """1 is as sharp as the target, below is blurrier."""

    def __init__(self, values: Iterable[float] = ()) -> None:
        self._values = deque(values, maxlen=SHARPNESS_WINDOW)

    def learn(self, sharpness: float) -> None:
        """Take in a step's sharpness, finite."""
        self._values.append(sharpness)

    @property
    def mean(self) -> float | None:
        """Over the last steps; None while there are too few. Divided before it is summed, so that it stays finite."""
        count = len(self._values)
        return sum(value / count for value in self._values) if count >= SHARPNESS_NEEDED else None

    def state(self) -> list[float]:
        """The values, oldest first."""
        return list(self._values)


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
