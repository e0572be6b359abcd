"""Where the shares go, by sharpness; each target is at most a hundredth away for MS and gradient."""

import pytest

from ddp.adaptive.policy import Target, aggressive_target, stable_target
from ddp.adaptive.weights import Shares, Weights

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
