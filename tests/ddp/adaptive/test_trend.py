"""The mean change of the perceptual weight over the last 100 steps."""

import pytest

from ddp.adaptive.perceptual import WeightTrend


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
