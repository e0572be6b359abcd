"""All findings of one run."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from service.run.records.findings.finding import Finding, Point
from service.run.records.findings.numbers import anomalies, not_finite, skipped
from service.run.records.findings.progress import gaps, other_images, slow_ranks, starved
from service.run.records.findings.quality import PLATEAU_STEPS, boosts, plateau, regressions


def find_all(points: Sequence[Point], plateau_steps: int = PLATEAU_STEPS) -> list[Finding]:
    """Return all findings in the records of one run's present branch, by their first step."""
    found = [
        *_about_quality(points, plateau_steps), *gaps(points), *not_finite(points), *skipped(points),
        *anomalies(points), *slow_ranks(points), *starved(points), *other_images(points),
    ]  # fmt: skip
    return sorted(found, key=lambda finding: (finding.first_step, finding.kind))


def _about_quality(points: Sequence[Point], plateau_steps: int) -> Iterator[Finding]:
    """Yield findings about each stretch of records with the same validation set; a plateau only of the last one."""
    parts = [list(group) for _, group in groupby(points, lambda point: point.validation_data)]
    for part in parts:
        yield from regressions(part)
        yield from boosts(part, plateau_steps)
    if parts:
        yield from plateau(parts[-1], plateau_steps)
