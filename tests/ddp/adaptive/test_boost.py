"""A boost of the learning rate."""

import pytest

from ddp.adaptive.learning_rate import REST_STEPS, LrBoost, height_at
from ddp.adaptive.state_reader import StateReader

BOOST = LrBoost(began=2000, height=4e-5, steps=1000)


def test_it_decays_along_half_a_cosine() -> None:
    assert BOOST.amount(2000) == pytest.approx(4e-5)
    assert BOOST.amount(2250) == pytest.approx(4e-5 * (0.5 + 0.5**1.5))
    assert BOOST.amount(2500) == pytest.approx(2e-5)
    assert BOOST.amount(2999) == pytest.approx(0, abs=1e-9)


def test_it_is_nothing_before_and_after() -> None:
    assert [BOOST.amount(step) for step in (0, 1999, 3000, 10_000)] == [0, 0, 0, 0]
    assert [BOOST.lasts(step) for step in (1999, 2000, 2999, 3000)] == [False, True, True, False]


def test_the_next_one_waits_for_a_rest_after_its_end() -> None:
    assert REST_STEPS == 1000
    assert BOOST.rests(3999)
    assert not BOOST.rests(4000)


@pytest.mark.parametrize(
    ("learning_rate", "height"),
    [
        (1e-5, 2e-5),  # three times
        (5e-5, 5e-5),  # up to the highest
        (9e-5, 1e-5),  # a ninth is worth it
        (9.2e-5, 0.0),  # less than a tenth is not
        (1e-4, 0.0),
        (0.0, 0.0),
    ],
)
def test_its_height_depends_on_the_scheduled_rate(learning_rate: float, height: float) -> None:
    assert height_at(learning_rate, 1e-4) == pytest.approx(height)


def test_it_goes_on_from_its_state() -> None:
    assert LrBoost.restored(StateReader(BOOST.state())) == BOOST
