"""Findings about quality: plateaus, regressions, and whether boosts of the learning rate helped."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median

from service.run.records.findings.finding import Finding, Point, scored

PLATEAU_STEPS = 5000
MIN_REGRESSION = 0.02
"""Quality below the best so far that is a regression, unless validations differ by more anyway."""
REGRESSION_SPREADS = 5.0
"""How many times the usual difference between two validations a regression must be."""
BOOST = "plateau_boost"

Scored = Sequence[tuple[int, float]]


def plateau(points: Sequence[Point], plateau_steps: int) -> Iterator[Finding]:
    """Yield the stretch up to the last record in which no validation was better than the best, if it is long."""
    qualities = scored(points)
    if not qualities:
        return
    best_step, best = _best(qualities)
    last_step = qualities[-1][0]
    if last_step - best_step >= plateau_steps:
        yield Finding("plateau", best_step, last_step, {"best": best})


def usual_difference(qualities: Scored) -> float:
    """Return the median difference between two successive validations."""
    return median([abs(after - before) for (_, before), (_, after) in pairwise(qualities)] or [0.0])


def regressions(points: Sequence[Point]) -> Iterator[Finding]:
    """Yield each stretch in which quality lies clearly below the best before it."""
    qualities = scored(points)
    spread = usual_difference(qualities)
    limit = max(MIN_REGRESSION, REGRESSION_SPREADS * spread)
    best_step, best = qualities[0] if qualities else (0, 0.0)
    low: list[tuple[int, float]] = []
    for step, quality in [*qualities, (-1, float("inf"))]:
        if quality < best - limit:
            low.append((step, quality))
            continue
        if low:
            worst_step, worst = min(low, key=lambda pair: pair[1])
            facts = {"worst": worst, "worst_step": worst_step, "best": best, "best_step": best_step, "spread": spread}
            yield Finding("regression", low[0][0], low[-1][0], facts)
            low = []
        if quality > best:
            best_step, best = step, quality


def boosts(points: Sequence[Point], plateau_steps: int) -> Iterator[Finding]:
    """Yield each boost of the learning rate: whether quality became clearly better than before.

    It is judged by the validations up to the next boost, at most `plateau_steps` later; as long as these have not come,
    a boost that has not helped is no finding.
    """
    starts = [after.step for before, after in pairwise(points) if _begins(before, after)]
    qualities = scored(points)
    spread = usual_difference(qualities)
    for index, start in enumerate(starts):
        end = min([start + plateau_steps, *starts[index + 1 : index + 2]])
        before = [pair for pair in qualities if pair[0] < start]
        after = [pair for pair in qualities if start <= pair[0] <= end]
        if before and after and (finding := _judged(before, after, start, end, spread)):
            yield finding


def _begins(before: Point, after: Point) -> bool:
    """Whether a boost began between two records; one that ended before the second leaves none available."""
    began = after.phase == BOOST and before.phase != BOOST
    return began or (before.may_boost is True and after.may_boost is False and before.phase != BOOST)


def _judged(before: Scored, after: Scored, start: int, end: int, spread: float) -> Finding | None:
    best_step, best = _best(before)
    later_step, later = _best(after)
    facts = {"best": best, "best_step": best_step, "later": later, "later_step": later_step, "spread": spread}
    if later > best + spread:
        return Finding("boost-helped", start, later_step, facts, is_problem=False)
    return Finding("boost-no-help", start, after[-1][0], facts) if after[-1][0] >= end else None


def _best(qualities: Scored) -> tuple[int, float]:
    return max(qualities, key=lambda pair: (pair[1], -pair[0]))
