"""The learning rate over steps."""

import math

import pytest
import torch

from ddp.adaptive.learning_rate import LrSchedule
from service.config.settings import RunConfig

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
