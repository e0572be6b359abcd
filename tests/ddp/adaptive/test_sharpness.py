"""The mean sharpness of the last steps."""

import pytest

from ddp.adaptive.policy import SHARPNESS_NEEDED, SHARPNESS_WINDOW, Sharpness


def test_there_is_no_mean_of_too_few_steps() -> None:
    sharpness = Sharpness([0.5] * (SHARPNESS_NEEDED - 1))

    assert sharpness.mean is None
    sharpness.learn(1.5)
    assert sharpness.mean == pytest.approx(0.6)


def test_only_the_last_steps_count() -> None:
    sharpness = Sharpness([9.0] * 50 + [0.7] * SHARPNESS_WINDOW)

    assert sharpness.mean == pytest.approx(0.7)
    assert sharpness.state() == [0.7] * SHARPNESS_WINDOW
