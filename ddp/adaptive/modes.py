"""The modes of the controller, and when Aggressive begins and ends."""

from enum import StrEnum

from service.settings import RunConfig

STABLE_INTERVAL = 50
AGGRESSIVE_INTERVAL = 10
"""Weights may be adjusted when the number of steps passes a multiple of these."""
ENTER_BELOW = 0.70
LEAVE_ABOVE = 0.75
"""Sharpness below which a plateau begins Aggressive, and above which Aggressive has done its work."""
LEAST_AGGRESSIVE_STEPS = 50
MOST_AGGRESSIVE_STEPS = 5000
"""Steps of Aggressive before sharpness can end it, and after which it ends in any case."""
REST_STEPS = 5000
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
