"""The policy: modes, the mean sharpness of the last steps, and where shares of the loss go."""

import pytest

from ddp.adaptive.policy import (
    SHARPNESS_NEEDED,
    SHARPNESS_WINDOW,
    Mode,
    Sharpness,
    Target,
    aggressive_target,
    interval_of,
    mode_at,
    reason_to_enter,
    reason_to_leave,
    stable_target,
)
from ddp.adaptive.weights import Shares, Weights
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


def test_there_is_no_mean_of_too_few_steps() -> None:
    sharpness = Sharpness([0.5] * (SHARPNESS_NEEDED - 1))

    assert sharpness.mean is None
    sharpness.learn(1.5)
    assert sharpness.mean == pytest.approx(0.6)


def test_only_the_last_steps_count() -> None:
    sharpness = Sharpness([9.0] * 50 + [0.7] * SHARPNESS_WINDOW)

    assert sharpness.mean == pytest.approx(0.7)
    assert sharpness.state() == [0.7] * SHARPNESS_WINDOW


USUAL = Weights((0.6, 0.2, 0.2), 0.1)


def shares_of(target: Target | None) -> Shares:
    assert target is not None
    return target.weights.shares


def test_between_blurry_and_sharp_stable_has_nothing_to_do() -> None:
    assert stable_target(USUAL, 0.75) is None
    assert stable_target(USUAL, 0.92) is None


def test_blurry_output_raises_the_gradient_share_at_the_cost_of_l1() -> None:
    target = stable_target(USUAL, 0.74)

    assert shares_of(target) == pytest.approx((0.59, 0.2, 0.21))
    assert target is not None
    assert target.reason == "blurry: sharpness 0.740 is below 0.75"
    assert target.weights.perceptual == 0.1


def test_blurry_output_raises_the_gradient_share_to_a_half_at_most() -> None:
    assert shares_of(stable_target(Weights((0.305, 0.2, 0.495), 0), 0.5)) == pytest.approx((0.3, 0.2, 0.5))
    assert shares_of(stable_target(Weights((0.3, 0.2, 0.5), 0), 0.5)) == pytest.approx((0.3, 0.2, 0.5))


def test_a_gradient_share_configured_above_the_ceiling_is_not_lowered_because_the_output_is_blurry() -> None:
    assert shares_of(stable_target(Weights((0.3, 0.1, 0.6), 0), 0.5)) == pytest.approx((0.3, 0.1, 0.6))


def test_blurry_output_lowers_a_large_ms_share() -> None:
    assert shares_of(stable_target(Weights((0.5, 0.3, 0.2), 0), 0.5)) == pytest.approx((0.5, 0.29, 0.21))


def test_sharp_output_lowers_the_gradient_share_by_a_twentieth_down_to_its_floor() -> None:
    assert shares_of(stable_target(USUAL, 0.93)) == pytest.approx((0.61, 0.2, 0.19))
    assert shares_of(stable_target(Weights((0.648, 0.2, 0.152), 0), 0.93)) == pytest.approx((0.65, 0.2, 0.15))


def test_sharp_output_never_raises_a_small_gradient_share() -> None:
    assert shares_of(stable_target(Weights((0.7, 0.2, 0.1), 0), 1.1)) == pytest.approx((0.7, 0.2, 0.1))


def test_aggressive_goes_towards_its_entry_shares() -> None:
    assert shares_of(aggressive_target(USUAL, 0.6)) == pytest.approx((0.6, 0.19, 0.21))
    assert shares_of(aggressive_target(Weights((0.55, 0.15, 0.3), 0), 0.6)) == pytest.approx((0.54, 0.15, 0.31))


def test_aggressive_waits_once_the_output_is_less_blurry() -> None:
    assert aggressive_target(USUAL, 0.72) is None


def test_targets_lead_shares_configured_below_the_floors_up_to_them() -> None:
    assert shares_of(stable_target(Weights((1.0, 0.0, 0.0), 0), 0.5)) == pytest.approx((0.9, 0.05, 0.05))
