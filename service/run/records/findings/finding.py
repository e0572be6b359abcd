"""One finding, and the few numbers of each record that findings are made of."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from service.loss_terms import TOTAL_LOSS_KEY
from service.run.records.findings.texts import ADVICE, EVIDENCE, Language
from service.run.records.summary import RecordSummary

WATCHED = (TOTAL_LOSS_KEY, "grad_norm", "validation_loss_value", "iteration_duration")
"""Numbers whose outliers are findings; all are positive, and change slowly while a run goes well."""


@dataclass(frozen=True)
class Finding:
    """One finding, from `first_step` to `last_step`. Without `is_problem` it is only worth knowing."""

    kind: str
    first_step: int
    last_step: int
    facts: Mapping[str, Any]
    is_problem: bool = True

    @property
    def evidence(self) -> str:
        """What was seen, as a sentence."""
        return self.evidence_in("en")

    @property
    def advice(self) -> str:
        """What to do, as a sentence."""
        return self.advice_in("en")

    def evidence_in(self, language: Language) -> str:
        """Return what was seen, as a sentence."""
        return EVIDENCE[language][self.kind](self.first_step, self.last_step, self.facts)

    def advice_in(self, language: Language) -> str:
        """Return what to do, as a sentence."""
        text = ADVICE[language][self.kind]
        return text.format(first=self.first_step, last=self.last_step, **self.facts)


@dataclass(frozen=True, slots=True)
class Point:
    """What the checks need of one record: thousands are held at once. `watched` are its WATCHED values."""

    step: int
    quality: float | None
    data_wait: float | None
    slow_rank: int | None
    slowness: float | None
    not_finite: tuple[str, ...]
    skipped_steps: int
    phase: str | None = None
    may_boost: bool | None = None
    validation_data: str | None = None
    watched: tuple[float | None, ...] = field(default=(None,) * len(WATCHED))


def point_of(summary: RecordSummary) -> Point:
    """Return the point of a record."""
    values = summary.values
    return Point(
        summary.step, values["quality_ki_value"], values["data_wait_ratio"], values["slow_rank"], summary.slowness,
        summary.not_finite, values["skipped_steps"] or 0, values["lr_phase_name"],
        values["adaptive_lr_boost_available"], values["validation_data"], tuple(values[key] for key in WATCHED),
    )  # fmt: skip


def stretches(points: Iterable[Point], label: Callable[[Point], object]) -> Iterator[list[Point]]:
    """Yield each row of successive points with the same label, except those whose label is None, False or empty."""
    return (list(group) for value, group in groupby(points, label) if value not in (None, False, ()))


def scored(points: Iterable[Point]) -> list[tuple[int, float]]:
    """Return step and quality of each point that has one."""
    return [(point.step, point.quality) for point in points if point.quality is not None]
