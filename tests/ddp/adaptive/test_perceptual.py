"""The perceptual weight by the mean L1 term."""

import pytest

from ddp.adaptive.perceptual import PerceptualWeight, WeightTrend, cap_at
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


def test_a_weight_that_rests_has_no_trend() -> None:
    trend = WeightTrend([(0, 0.1)])
    for step in range(10, 500, 10):
        trend.note(step, 0.1)

    assert trend.per_step == 0
    assert trend.state() == [[0, 0.1]]


def test_a_steady_rise_has_its_slope() -> None:
    trend = WeightTrend([(0, 0.05)])
    for step in range(10, 210, 10):
        trend.note(step, 0.05 + step * 0.0004)

    assert trend.per_step == pytest.approx(0.0004)


def test_a_change_is_forgotten_after_100_steps() -> None:
    trend = WeightTrend([(0, 0.1)])
    trend.note(500, 0.2)

    trend.note(599, 0.2)
    assert trend.per_step == pytest.approx(0.001)
    trend.note(600, 0.2)

    assert trend.per_step == 0


def test_two_notes_at_one_step_are_one() -> None:
    trend = WeightTrend([(0, 0.1)])
    trend.note(50, 0.2)
    trend.note(50, 0.15)

    assert trend.state() == [[0, 0.1], [50, 0.15]]
    trend.note(50, 0.1)
    assert trend.state() == [[0, 0.1]]


def test_few_points_are_kept() -> None:
    trend = WeightTrend([(0, 0.0)])
    for step in range(1, 5000):
        trend.note(step, step * 1e-5)

    assert len(trend.state()) <= 101
