"""Pinned weights: what is in force, and how far a move may go under them."""

import pytest

from ddp.adaptive.pins import Pins

OWN = (0.5, 0.2, 0.2, 0.1)


def test_without_pins_the_controllers_weights_are_in_force() -> None:
    assert Pins().in_force(OWN) == OWN


def test_a_pinned_weight_has_its_value_and_the_others_share_the_rest_in_proportion() -> None:
    assert Pins.of({"l1_weight": 0.1}).in_force(OWN) == pytest.approx((0.1, 0.36, 0.36, 0.18))


def test_two_pins_leave_less() -> None:
    assert Pins.of({"l1_weight": 0.5, "perceptual_weight": 0.2}).in_force(OWN) == pytest.approx((0.5, 0.15, 0.15, 0.2))


def test_all_pinned_are_in_force_as_they_are() -> None:
    pins = {"l1_weight": 0.4, "ms_weight": 0.3, "grad_weight": 0.2, "perceptual_weight": 0.1}

    assert Pins.of(pins).in_force(OWN) == pytest.approx((0.4, 0.3, 0.2, 0.1))


def test_three_pinned_of_three_that_miss_one_by_rounding_are_scaled() -> None:
    pins = {"l1_weight": 0.5, "ms_weight": 0.3, "grad_weight": 0.1999999}

    weights = Pins.of(pins).in_force((0.6, 0.2, 0.2, 0.0))

    assert sum(weights) == pytest.approx(1, abs=1e-12)
    assert weights[3] == 0


def test_weights_that_are_all_zero_share_the_rest_equally() -> None:
    assert Pins.of({"l1_weight": 0.5}).in_force((1.0, 0.0, 0.0, 0.0)) == pytest.approx((0.5, 0.25, 0.25, 0))


def test_an_unknown_name_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ValueError, match=r"'max_lr' cannot be pinned; what can is l1_weight, .*initial_grad_clip"):
        Pins.of({"max_lr": 0.1})


def test_a_move_without_pins_is_limited_by_its_longest_way() -> None:
    assert Pins().reach(OWN, (0.45, 0.2, 0.25, 0.1), 0.01) == pytest.approx(0.2)
    assert Pins().reach(OWN, (0.495, 0.2, 0.205, 0.1), 0.01) == 1


def test_a_pin_that_enlarges_the_others_shortens_the_move() -> None:
    pins = Pins.of({"l1_weight": 0.0})
    own, target = OWN, (0.5, 0.15, 0.25, 0.1)

    part = pins.reach(own, target, 0.01)

    reached = tuple(here + part * (there - here) for here, there in zip(own, target, strict=True))
    before, after = pins.in_force(own), pins.in_force(reached)  # type: ignore[arg-type]  # four of them
    assert max(abs(x - y) for x, y in zip(before, after, strict=True)) == pytest.approx(0.01)
    assert part == pytest.approx(0.1)


def test_a_pin_that_makes_the_others_small_leaves_the_controllers_own_limit() -> None:
    assert Pins.of({"l1_weight": 0.9}).reach(OWN, (0.5, 0.15, 0.25, 0.1), 0.01) == pytest.approx(0.2)


def test_a_move_that_nobody_would_see_is_none() -> None:
    only_gradient_is_free = Pins.of({"l1_weight": 0.5, "ms_weight": 0.2, "perceptual_weight": 0.1})

    assert only_gradient_is_free.reach(OWN, (0.45, 0.2, 0.25, 0.1), 0.01) == 0
    assert Pins().reach(OWN, OWN, 0.01) == 0
