"""The learning rate: the schedule as published, and boosts that decay back to it."""

import math

import pytest
import torch

from ddp.adaptive.learning_rate import REST_STEPS, LrBoost, LrSchedule, height_at
from ddp.adaptive.state_reader import StateReader
from service.config.settings import RunConfig

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


SCHEDULE = LrSchedule.of(RunConfig(lr_exponent=-5, max_lr=1e-3, min_lr=1e-6, warmup_steps=100, max_steps=1100))


def test_warm_up_starts_at_its_exponent_and_ends_at_the_peak() -> None:
    assert SCHEDULE.learning_rate(0) == pytest.approx(1e-5)
    assert SCHEDULE.learning_rate(50) == pytest.approx((1e-5 + 1e-3) / 2)
    assert SCHEDULE.learning_rate(100) == pytest.approx(1e-3)


def test_cosine_equals_torchs_cosine_annealing() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    peer = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=1000, eta_min=1e-6)
    for step in range(100, 1100):
        assert SCHEDULE.learning_rate(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6)
        optimizer.step()
        peer.step()


def test_it_stays_at_the_floor_beyond_the_last_step() -> None:
    assert SCHEDULE.learning_rate(5000) == pytest.approx(1e-6)


def test_no_warm_up_starts_at_the_peak() -> None:
    schedule = LrSchedule.of(RunConfig(warmup_steps=0, max_lr=1e-3, max_steps=10))
    assert schedule.learning_rate(0) == pytest.approx(1e-3)
    assert schedule.phase(0) == "cosine"


def test_the_warm_up_never_starts_above_the_peak() -> None:
    schedule = LrSchedule.of(RunConfig(lr_exponent=-1, max_lr=1e-4, min_lr=0, warmup_steps=10))
    assert max(schedule.learning_rate(step) for step in range(20)) <= 1e-4
    assert not math.isnan(schedule.learning_rate(0))
