"""The arithmetic of exchanges between very many ranks."""

from dataclasses import replace

import numpy
import pytest

from bench.scaling.model import (
    ROW_BYTES,
    Cluster,
    Measured,
    Shape,
    exchange_seconds,
    fit,
    hops,
    simulate,
    step_times,
    steps_with_word,
)
from ddp.control.agreement import CHECK_SECONDS, WAIT_SHARE

EVEN = Cluster(step_seconds=0.25, hop_seconds=20e-6, jitter=0.0, straggle_chance=0.0)


def generator() -> numpy.random.Generator:
    return numpy.random.default_rng(1)


def test_a_ring_grows_with_the_ranks_and_a_tree_with_their_logarithm() -> None:
    assert [hops(ranks, Shape.RING) for ranks in (1, 2, 3, 4096)] == [0, 2, 4, 8190]
    assert [hops(ranks, Shape.TREE) for ranks in (1, 2, 3, 4096)] == [0, 2, 4, 24]


@pytest.mark.parametrize("shape", list(Shape))
def test_a_fit_finds_what_the_times_were_made_of_and_the_other_shape_explains_them_less(shape: Shape) -> None:
    other = Shape.TREE if shape is Shape.RING else Shape.RING
    times = [
        Measured(ranks, size, 1e-4 + 3e-5 * hops(ranks, shape) + 2e-9 * size)
        for ranks in (1, 2, 4, 8)
        for size in (16, 65_536, 1_048_576)
    ]

    found = fit(times, shape)

    assert (found.base, found.per_hop, found.per_byte) == pytest.approx((1e-4, 3e-5, 2e-9), rel=1e-6)
    assert found.seconds(16, 0) == pytest.approx(1e-4 + 3e-5 * hops(16, shape))
    assert found.error < 1e-9 < fit(times, other).error


def test_too_few_measurements_are_refused_with_their_number() -> None:
    with pytest.raises(ValueError, match="there are 1"):
        fit([Measured(1, 16, 1e-4), Measured(2, 16, 2e-4)], Shape.RING)


def test_one_rank_pays_for_no_exchange() -> None:
    share = simulate(EVEN, 1, 20, Shape.RING, generator())

    assert share.total == 0
    assert share.step_seconds == pytest.approx(0.25)


def test_without_jitter_the_simulation_is_the_formula() -> None:
    share = simulate(replace(EVEN, is_paced=False), 64, 50, Shape.RING, generator())

    assert share.word == pytest.approx(exchange_seconds(EVEN, 64, 16, Shape.RING) / 0.25)
    assert share.log_point == pytest.approx(exchange_seconds(EVEN, 64, 64 * ROW_BYTES, Shape.RING) / 100 / 0.25)


def test_what_a_step_hides_costs_nothing() -> None:
    assert simulate(replace(EVEN, cover_seconds=1.0), 4096, 20, Shape.RING, generator()).word == 0


def test_paced_words_take_no_more_than_their_share_of_the_time() -> None:
    fast = replace(EVEN, hop_seconds=2e-6)
    at_once = simulate(replace(fast, is_paced=False), 4096, 300, Shape.RING, generator())
    paced = simulate(fast, 4096, 300, Shape.RING, generator())

    assert at_once.word > 2 * WAIT_SHARE
    assert 0 < paced.word <= WAIT_SHARE * 1.1


def test_a_step_takes_as_long_as_the_slowest_of_its_ranks() -> None:
    uneven = replace(EVEN, jitter=0.05)
    few, many = (step_times(uneven, ranks, 200, generator()).mean() for ranks in (1, 1000))

    assert few == pytest.approx(0.25, rel=0.02)
    assert many == pytest.approx(0.25 * numpy.exp(0.05 * 3.24), rel=0.02)  # the expected largest of 1000 normal numbers
    assert step_times(replace(EVEN, straggle_chance=1.0), 8, 50, generator()).min() > 0.25


def test_words_are_as_far_apart_as_the_checks() -> None:
    assert steps_with_word([0.02] * 300, 0.0, CHECK_SECONDS) == 100
    assert steps_with_word([0.25] * 300, 0.0, CHECK_SECONDS) == 300
    assert steps_with_word([0.25] * 320, 0.0, 1.0) == pytest.approx(80, abs=1)
