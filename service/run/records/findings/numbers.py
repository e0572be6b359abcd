"""Findings about numbers: values that are not finite, skipped steps, outliers."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median

from service.run.records.findings.finding import WATCHED, Finding, Point, stretches

NEIGHBOURS = 10
"""Records on each side that an outlier is compared with."""
MIN_NEIGHBOURS = 3
"""On each side: without them a steep fall at the start would be one."""
OUTLIER_RATIO = 2.0
"""How many times the median of its neighbours an outlier must be, at least."""
OUTLIER_SPREADS = 8.0
"""How many times the usual distance from that median an outlier must have."""


def not_finite(points: Sequence[Point]) -> Iterator[Finding]:
    """Yield each stretch of records with the same keys that were not finite."""
    for stretch in stretches(points, lambda point: point.not_finite):
        facts = {"keys": ", ".join(stretch[0].not_finite), "count": len(stretch)}
        yield Finding("not-finite", stretch[0].step, stretch[-1].step, facts)


def skipped(points: Sequence[Point]) -> Iterator[Finding]:
    """Yield each pair of records between which steps were skipped."""
    for before, after in pairwise(points):
        if after.skipped_steps > before.skipped_steps:
            facts = {"count": after.skipped_steps - before.skipped_steps}
            yield Finding("skipped-steps", before.step, after.step, facts)


def anomalies(points: Sequence[Point]) -> Iterator[Finding]:
    """Yield each value far above those of the records around it: spikes of loss, gradient norm or seconds per step."""
    for index, key in enumerate(WATCHED):
        known = [(point.step, value) for point in points if (value := point.watched[index]) is not None]
        yield from _outliers(key, known)


def _outliers(key: str, known: Sequence[tuple[int, float]]) -> Iterator[Finding]:
    values = [value for _, value in known]
    for place, (step, value) in enumerate(known):
        before, after = values[max(0, place - NEIGHBOURS) : place], values[place + 1 : place + 1 + NEIGHBOURS]
        if min(len(before), len(after)) < MIN_NEIGHBOURS or value <= OUTLIER_RATIO * min(before):
            continue  # no median is less than the least: nearly all values end here
        usual = max(median(before), median(after))
        distance = median(abs(other - usual) for other in before + after)
        if value > OUTLIER_RATIO * usual > 0 and value - usual > OUTLIER_SPREADS * distance:
            yield Finding("anomaly", step, step, {"key": key, "value": value, "usual": usual})
