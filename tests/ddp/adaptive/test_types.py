"""One step as the controller sees it."""

import math
from dataclasses import replace

import pytest

from tests.ddp.adaptive.made_up import observed


def test_a_measured_step_is_finite() -> None:
    assert observed(1).is_finite


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_value_that_is_not_finite_spoils_the_step(value: float) -> None:
    step = observed(1)

    assert not replace(step, sharpness=value).is_finite
    assert not replace(step, grad_norm=value).is_finite
    assert not replace(step, terms=(value, 0.2, 0.3, 0.4)).is_finite
    assert not replace(step, terms=(0.1, value, 0.3, 0.4)).is_finite
    assert not replace(step, terms=(0.1, 0.2, value, 0.4)).is_finite
    assert not replace(step, terms=(0.1, 0.2, 0.3, value)).is_finite
