"""How sure a median is, and what is said of an aim."""

import random

import pytest

from bench.steps.intervals import Interval, excess_interval, median_interval, verdict


def numbers(count: int, middle: float) -> list[float]:
    generator = random.Random(3)
    return [generator.gauss(middle, 1.0) for _ in range(count)]


def test_the_interval_holds_the_median_and_narrows_with_more_values() -> None:
    few, many = median_interval(numbers(20, 5.0)), median_interval(numbers(2000, 5.0))

    assert few.low < few.middle < few.high
    assert many.low < 5.0 < many.high
    assert many.high - many.low < (few.high - few.low) / 4


def test_one_wild_value_does_not_move_the_interval() -> None:
    calm = numbers(100, 5.0)

    assert median_interval([*calm, 1e9]).high == pytest.approx(median_interval(calm).high, abs=0.2)


@pytest.mark.parametrize(("ours", "peers", "said"), [(1.0, 9.0, "met"), (9.0, 9.0, "NOT met"), (4.5, 9.0, "not shown")])
def test_an_aim_counts_as_met_or_missed_only_where_the_whole_interval_says_so(
    ours: float, peers: float, said: str
) -> None:
    assert verdict(excess_interval(numbers(50, ours), numbers(50, peers), 0.5)) == said


def test_an_interval_reads_as_one_line() -> None:
    assert Interval(-1.0, 0.5, 2.25).text() == "+0.50 (-1.00 … +2.25)"
