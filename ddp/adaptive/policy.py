"""The policy of the controller: its modes, the output's sharpness, and the targets of the loss shares."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from ddp.adaptive.weights import LIMIT, Weights, bounded_shares
from service.config.settings import RunConfig

STABLE_INTERVAL = 50
AGGRESSIVE_INTERVAL = 10
"""Weights may be adjusted when the number of steps reaches a multiple of these."""
ENTER_BELOW = 0.70
LEAVE_ABOVE = 0.75
"""Sharpness below which a plateau starts Aggressive, and above which Aggressive ends."""
MIN_AGGRESSIVE_STEPS = 50
MAX_AGGRESSIVE_STEPS = 5000
"""Minimum number of steps of Aggressive before sharpness can end it, and its maximum."""

SAFETY_REST_STEPS = 5000
"""Steps after a safety reset of the weights before sharpness may move them again."""


class Mode(StrEnum):
    """Modes: Warmup and Settling move no weights, Stable moves them rarely, Aggressive often, to sharper output."""

    WARMUP = "Warmup"
    SETTLING = "Settling"
    STABLE = "Stable"
    AGGRESSIVE = "Aggressive"


def mode_at(steps_done: int, config: RunConfig, aggressive_since: int | None) -> Mode:
    """Return the mode after `steps_done` steps. A resume does not repeat Warmup and Settling."""
    if steps_done < config.adaptive_warmup_steps:
        return Mode.WARMUP
    if steps_done < settled_at(config):
        return Mode.SETTLING
    return Mode.STABLE if aggressive_since is None else Mode.AGGRESSIVE


def settled_at(config: RunConfig) -> int:
    """Return the number of steps at the end of Settling."""
    return config.adaptive_warmup_steps + config.settling_steps


def interval_of(mode: Mode) -> int:
    """Return the number of steps between two adjustments."""
    return AGGRESSIVE_INTERVAL if mode is Mode.AGGRESSIVE else STABLE_INTERVAL


def reason_to_leave(aggressive_steps: int, sharpness: float | None) -> str | None:
    """Return why Aggressive ends after `aggressive_steps` steps of it; None if it continues."""
    if aggressive_steps >= MAX_AGGRESSIVE_STEPS:
        return f"Aggressive has lasted {aggressive_steps} steps; {MAX_AGGRESSIVE_STEPS} are the most"
    if aggressive_steps >= MIN_AGGRESSIVE_STEPS and sharpness is not None and sharpness > LEAVE_ABOVE:
        return f"sharp enough: sharpness {sharpness:.3f} is above {LEAVE_ABOVE}"
    return None


def reason_to_enter(counter: int, sharpness: float | None) -> str | None:
    """Return why Aggressive starts on a plateau of `counter` steps; None if it does not."""
    if is_blurry(sharpness):
        return f"blurry plateau: sharpness {sharpness:.3f} is below {ENTER_BELOW}, no improvement in {counter} steps"
    return None


def is_blurry(sharpness: float | None) -> bool:
    """Whether the output is too blurry for a plateau to be accepted."""
    return sharpness is not None and sharpness < ENTER_BELOW


SHARPNESS_WINDOW = 20
"""Number of recent steps that are averaged."""

SHARPNESS_NEEDED = 10
"""Minimum number of steps for a mean."""


class Sharpness:
    """Moving average of the sharpness: 1 is as sharp as the target, below is blurrier."""

    def __init__(self, values: Iterable[float] = ()) -> None:
        self._values = deque(values, maxlen=SHARPNESS_WINDOW)

    def learn(self, sharpness: float) -> None:
        """Add a step's finite sharpness."""
        self._values.append(sharpness)

    @property
    def mean(self) -> float | None:
        """Mean over recent steps; None if there are too few. Values are divided before the sum to avoid an overflow."""
        count = len(self._values)
        return sum(value / count for value in self._values) if count >= SHARPNESS_NEEDED else None

    def state(self) -> list[float]:
        """Return the values, oldest first."""
        return list(self._values)


STABLE_BLURRY = 0.75
STABLE_SHARP = 0.92
STABLE_FACTOR = 1.05
"""Stable: below, the gradient share is raised by the factor; above `STABLE_SHARP` it is lowered."""
AGGRESSIVE_BLURRY = 0.72
AGGRESSIVE_FACTOR = 1.15
"""Aggressive: below, the gradient share is raised by the factor, at least to AGGRESSIVE_GRADIENT."""
AGGRESSIVE_GRADIENT = 0.30
AGGRESSIVE_MS = 0.15
"""Minimum gradient share and maximum MS share in Aggressive; L1 has the rest, initially 0.55."""
GRADIENT_CEILING = 0.5
MS_CEILING = 0.2
"""Maximum gradient share when it is raised, and the maximum MS share then."""
SHARP_FACTOR = 0.95
SHARP_FLOOR = 0.15
"""Factor by which a sharp output lowers the gradient share, and the floor."""


@dataclass(frozen=True)
class Target:
    """Target weights and the reason for them."""

    weights: Weights
    reason: str


def stable_target(own: Weights, sharpness: float) -> Target | None:
    """Return a target with more gradient weight for a blurry output, less for a sharp one; otherwise None."""
    _, ms, gradient = own.shares
    if sharpness < STABLE_BLURRY:
        reason = f"blurry: sharpness {sharpness:.3f} is below {STABLE_BLURRY}"
        return _target(own, min(MS_CEILING, ms), _raised(gradient, STABLE_FACTOR), reason)
    if sharpness > STABLE_SHARP:
        lowered = min(gradient, max(SHARP_FLOOR, gradient * SHARP_FACTOR))
        return _target(own, ms, lowered, f"sharp: sharpness {sharpness:.3f} is above {STABLE_SHARP}")
    return None


def aggressive_target(own: Weights, sharpness: float) -> Target | None:
    """Return a target with much more gradient weight if the output is blurry; otherwise None."""
    if sharpness >= AGGRESSIVE_BLURRY:
        return None
    _, ms, gradient = own.shares
    raised = max(AGGRESSIVE_GRADIENT, _raised(gradient, AGGRESSIVE_FACTOR))
    reason = f"blurry on a plateau: sharpness {sharpness:.3f} is below {AGGRESSIVE_BLURRY}"
    return _target(own, min(AGGRESSIVE_MS, ms), raised, reason)


def _raised(gradient: float, factor: float) -> float:
    return max(gradient, min(GRADIENT_CEILING, gradient * factor))


def _target(own: Weights, ms: float, gradient: float, reason: str) -> Target:
    """Build a target with each share limited separately, so that a large change does not slow down the other share."""
    _, own_ms, own_gradient = own.shares
    shares = bounded_shares(_limited(own_ms, ms), _limited(own_gradient, gradient))
    return Target(Weights(shares, own.perceptual), reason)


def _limited(here: float, there: float) -> float:
    return min(max(there, here - LIMIT), here + LIMIT)
