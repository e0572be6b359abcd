"""What is learnt of durations: the 99th percentile, from a stream, with a memory that fades."""

import random

import pytest

from ddp.watchdog.durations import FIRST_SAMPLES, MIN_SAMPLES, DurationHistogram

BIN = 2**0.25


def learnt(*durations: float) -> DurationHistogram:
    """A histogram that has left out what it leaves out, and then got these."""
    histogram = DurationHistogram()
    for seconds in (*[1000.0] * FIRST_SAMPLES, *durations):
        histogram.add(seconds)
    return histogram


def test_nothing_is_known_from_few_durations_and_the_first_ones_do_not_count() -> None:
    assert learnt(*[0.01] * (MIN_SAMPLES - 1)).p99() is None
    assert learnt(*[0.01] * MIN_SAMPLES).p99() == pytest.approx(0.01, rel=BIN - 1)


@pytest.mark.parametrize("sigma", [0.1, 1.0])
def test_of_many_durations_it_is_the_99th_percentile_or_a_little_more(sigma: float) -> None:
    chance = random.Random(7)
    durations = [0.02 * chance.lognormvariate(0, sigma) for _ in range(3000)]

    found, exact = learnt(*durations).p99(), sorted(durations)[2969]

    assert found is not None
    assert exact <= found <= sorted(durations)[2990] * BIN


def test_of_a_few_dozen_durations_it_is_the_longest() -> None:
    found = learnt(*[0.01] * 99, 0.4).p99()

    assert found is not None
    assert 0.4 <= found <= 0.4 * BIN


def test_what_was_long_ago_is_forgotten() -> None:
    histogram = learnt(*[0.9] * 1000)
    for _ in range(40_000):
        histogram.add(0.01)

    assert histogram.p99() == pytest.approx(0.01, rel=BIN - 1)


def test_a_long_duration_that_ended_by_itself_is_remembered_though_it_is_one_of_thousands() -> None:
    histogram = learnt(*[0.01] * 3000)
    histogram.add(5.0)
    for _ in range(300):
        histogram.add(0.01)

    assert histogram.p99() == pytest.approx(5.0, rel=BIN - 1)


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 1e9])
def test_durations_beyond_all_bins_are_in_the_outermost(seconds: float) -> None:
    found = learnt(*[seconds] * MIN_SAMPLES).p99()

    assert found is not None
    assert found <= 1e-4 if seconds < 1 else found >= 1e5
