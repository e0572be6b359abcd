"""Modes by step, and the ways into and out of Aggressive."""

import pytest

from ddp.adaptive.policy import Mode, interval_of, mode_at, reason_to_enter, reason_to_leave
from service.config.settings import RunConfig

CONFIG = RunConfig(adaptive_warmup_steps=1000, settling_steps=100)


@pytest.mark.parametrize(
    ("steps_done", "since", "mode"),
    [
        (0, None, "Warmup"),
        (999, None, "Warmup"),
        (1000, None, "Settling"),
        (1099, None, "Settling"),
        (1100, None, "Stable"),
        (1100, 1100, "Aggressive"),
        (90_000, None, "Stable"),
    ],
)
def test_the_mode_follows_from_the_step(steps_done: int, since: int | None, mode: str) -> None:
    assert mode_at(steps_done, CONFIG, since) == mode


def test_without_warm_up_and_settling_it_is_stable_at_once() -> None:
    assert mode_at(0, RunConfig(adaptive_warmup_steps=0, settling_steps=0), None) is Mode.STABLE


def test_aggressive_adjusts_more_often() -> None:
    assert (interval_of(Mode.STABLE), interval_of(Mode.AGGRESSIVE)) == (50, 10)


def test_only_blurry_output_makes_a_plateau_aggressive() -> None:
    assert reason_to_enter(250, 0.70) is None
    assert reason_to_enter(250, None) is None
    assert reason_to_enter(251, 0.69) == "blurry plateau: sharpness 0.690 is below 0.7, no improvement in 251 steps"


@pytest.mark.parametrize(
    ("steps", "sharpness", "leaves"),
    [(49, 0.9, False), (50, 0.75, False), (50, 0.76, True), (4999, 0.5, False), (5000, 0.5, True), (5000, None, True)],
)
def test_aggressive_ends_when_sharp_or_after_its_time(steps: int, sharpness: float | None, leaves: bool) -> None:
    assert (reason_to_leave(steps, sharpness) is not None) is leaves
