"""The perceptual weight by the mean L1 term."""

import pytest

from ddp.adaptive.perceptual import PerceptualWeight, cap_at
from ddp.adaptive.state_reader import StateReader


def test_the_mean_begins_with_the_first_step_and_follows_by_two_fifty_firsts() -> None:
    perceptual = PerceptualWeight()

    perceptual.learn(0.02)
    assert perceptual.mean_l1 == 0.02
    perceptual.learn(0.07)

    assert perceptual.mean_l1 == pytest.approx(0.02 + 0.05 * 2 / 51)


def test_a_constant_is_its_own_mean() -> None:
    perceptual = PerceptualWeight()
    for _ in range(100):
        perceptual.learn(0.0123)

    assert perceptual.mean_l1 == pytest.approx(0.0123)


@pytest.mark.parametrize(("mean_l1", "cap"), [(0.0079, 0.20), (0.008, 0.15), (0.0119, 0.15), (0.012, 0.10)])
def test_the_cap_depends_on_the_mean(mean_l1: float, cap: float) -> None:
    assert cap_at(mean_l1) == cap


@pytest.mark.parametrize(
    ("mean_l1", "weight", "following"),
    [
        (0.0099, 0.10, 0.1015),  # rises
        (0.0099, 0.1495, 0.15),  # up to the cap
        (0.0099, 0.19, 0.19),  # above which it stays
        (0.0100, 0.10, 0.10),  # between the thresholds it stays
        (0.0180, 0.10, 0.10),
        (0.0181, 0.10, 0.098),  # falls
        (0.0181, 0.051, 0.05),  # down to the floor
        (0.0150, 0.02, 0.05),  # hard bounds
        (0.0150, 0.30, 0.25),
    ],
)
def test_the_weight_one_step_on(mean_l1: float, weight: float, following: float) -> None:
    assert PerceptualWeight(mean_l1).next(weight, 0.1) == pytest.approx(following)


def test_a_term_that_is_off_stays_off() -> None:
    assert PerceptualWeight(0.001).next(0.0, 0.0) == 0


def test_nothing_moves_before_the_first_step() -> None:
    assert PerceptualWeight().next(0.1, 0.1) == 0.1


@pytest.mark.parametrize("mean_l1", [None, 0.011])
def test_it_goes_on_from_its_state(mean_l1: float | None) -> None:
    assert PerceptualWeight.restored(StateReader(PerceptualWeight(mean_l1).state())).mean_l1 == mean_l1
