"""The gradient clip follows the norms."""

import random

import numpy
import pytest

from ddp.adaptive.grad_clip import CEILING, FLOOR, NORMS_KEPT, NORMS_NEEDED, GradClip, quantile
from ddp.adaptive.state_reader import StateReader
from service.config.settings import RunConfig


def fed(config: RunConfig, norm: float, count: int) -> GradClip:
    clip = GradClip(config)
    for _ in range(count):
        clip.learn(norm)
    return clip


def test_it_stays_at_the_configured_value_for_the_first_99_norms() -> None:
    assert fed(RunConfig(initial_grad_clip=1.5), 3.0, NORMS_NEEDED - 1).value == 1.5


def test_from_the_100th_on_it_goes_a_tenth_of_the_way_to_the_percentile() -> None:
    assert fed(RunConfig(initial_grad_clip=1.5), 3.0, NORMS_NEEDED).value == pytest.approx(0.9 * 1.5 + 0.1 * 3.0)
    assert fed(RunConfig(initial_grad_clip=1.5), 3.0, 400).value == pytest.approx(3.0)


def test_the_percentile_is_numpys() -> None:
    source = random.Random(3)
    for count in (1, 2, 100, 499):
        values = sorted(source.random() for _ in range(count))
        assert quantile(values, 0.95) == pytest.approx(numpy.percentile(values, 95))


def test_the_percentile_is_of_the_last_500_norms() -> None:
    source = random.Random(4)
    norms = [source.choice([0.5, 1.0, 2.0, 4.0]) * source.random() for _ in range(1300)]
    clip, expected = GradClip(RunConfig(initial_grad_clip=1.5)), 1.5

    for count, norm in enumerate(norms, start=1):
        clip.learn(norm)
        if count >= NORMS_NEEDED:
            expected = 0.9 * expected + 0.1 * float(numpy.percentile(norms[max(0, count - NORMS_KEPT) : count], 95))

    assert clip.value == pytest.approx(expected)


def test_it_keeps_floor_and_ceiling() -> None:
    assert fed(RunConfig(), 0.0, 1000).value == FLOOR
    assert fed(RunConfig(), 1e6, 1000).value == CEILING


def test_a_configured_value_beyond_a_bound_replaces_it() -> None:
    assert fed(RunConfig(initial_grad_clip=0.01), 0.0, 1000).value == 0.01
    assert fed(RunConfig(initial_grad_clip=50.0), 1e6, 1000).value == 50.0
    assert fed(RunConfig(initial_grad_clip=50.0), 0.0, 1000).value == FLOOR


def test_switched_off_it_stays_at_the_configured_value() -> None:
    config = RunConfig(adaptive_grad_clip=False, initial_grad_clip=2.0)

    assert fed(config, 5.0, 500).value == 2.0


def test_switching_it_off_returns_to_the_configured_value_and_on_goes_on_from_there() -> None:
    clip = fed(RunConfig(), 5.0, 500)

    clip.configure(RunConfig(adaptive_grad_clip=False))
    assert clip.value == 1.5
    clip.configure(RunConfig())
    clip.learn(5.0)

    assert clip.value == pytest.approx(0.9 * 1.5 + 0.1 * 5.0)


def test_it_goes_on_from_its_state() -> None:
    source = random.Random(5)
    clip = GradClip(RunConfig())
    for _ in range(700):
        clip.learn(source.random())

    copy = GradClip.restored(RunConfig(), StateReader(clip.state()))
    for _ in range(700):
        norm = source.random()
        clip.learn(norm)
        copy.learn(norm)

    assert copy.state() == clip.state()
