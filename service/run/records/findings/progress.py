"""Findings about how a run goes on: gaps between records, slow ranks, data that are too slow."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median

from service.run.records.findings.finding import Finding, Point, stretches

GAP_RATIO = 1.5
STARVED_RATIO = 0.2
"""Share of time spent waiting for data above which the data are too slow."""


def gaps(points: Sequence[Point]) -> Iterator[Finding]:
    """Yield intervals that are longer than usual, except where the interval itself was changed and stays so."""
    steps = [point.step for point in points]
    intervals = [after - before for before, after in pairwise(steps)]
    usual = median(intervals) if intervals else 0
    for index, interval in enumerate(intervals):
        neighbours = intervals[max(0, index - 1) : index] + intervals[index + 1 : index + 2]
        if interval > GAP_RATIO * usual and not any(abs(other - interval) <= 0.1 * interval for other in neighbours):
            yield Finding("gap", steps[index], steps[index + 1], {"usual": usual})


def slow_ranks(points: Sequence[Point]) -> Iterator[Finding]:
    """Yield each stretch of records in which all ranks waited for the same one."""
    for stretch in stretches(points, lambda point: None if point.slow_rank is None else f"rank {point.slow_rank}"):
        slowness = [point.slowness for point in stretch if point.slowness]
        facts = {
            "rank": stretch[0].slow_rank, "slowness": median(slowness) if slowness else None, "count": len(stretch),
        }  # fmt: skip
        yield Finding("slow-rank", stretch[0].step, stretch[-1].step, facts)


def starved(points: Sequence[Point]) -> Iterator[Finding]:
    """Yield each stretch of records in which too much time was spent waiting for data."""
    for stretch in stretches(points, lambda point: (point.data_wait or 0.0) > STARVED_RATIO):
        facts = {"share": max(point.data_wait or 0.0 for point in stretch), "count": len(stretch)}
        yield Finding("starved", stretch[0].step, stretch[-1].step, facts)


def other_images(points: Sequence[Point]) -> Iterator[Finding]:
    """Yield each change of the validation set: qualities before and after it do not compare."""
    for before, after in pairwise(points):
        if before.validation_data and after.validation_data and before.validation_data != after.validation_data:
            yield Finding("other-images", before.step, after.step, {}, is_problem=False)
