"""The numbers of a run's records as columns: 8 bytes a number, so that a hundred thousand records fit in memory."""

import math
from array import array
from collections.abc import Iterable, Mapping, MutableSequence, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from service.loss_terms import LOSS_TERMS, TOTAL_LOSS_KEY
from service.run.records.curves.activity import ActivityMap
from service.run.records.summary import RecordSummary

LOSSES = (TOTAL_LOSS_KEY, *(term.loss_key for term in LOSS_TERMS), "validation_loss_value")
WEIGHTS = tuple(term.weight_key for term in LOSS_TERMS)
QUALITIES = ("quality_ki_value", "quality_lr_value", "quality_ema_value")
LEARNING_RATE = "learning_rate_value"
NUMBERS = (
    *QUALITIES, *LOSSES, *WEIGHTS, LEARNING_RATE, "psnr_ki_db", "psnr_y_ki_db", "ssim_ki", "grad_norm", "samples_seen",
    "iteration_duration",
)  # fmt: skip
PHASE, MODE = "lr_phase_name", "adaptive_mode"


@dataclass
class RunColumns:
    """The columns of one run, as long as `steps`; a number that a record lacks is NaN.

    `changes` has for each of PHASE and MODE the first index and the text of every stretch of records with the same.
    """

    label: str
    steps: MutableSequence[int] = field(default_factory=lambda: array("q"))
    numbers: Mapping[str, MutableSequence[float]] = field(default_factory=lambda: {key: array("d") for key in NUMBERS})
    changes: Mapping[str, list[tuple[int, str]]] = field(default_factory=lambda: {PHASE: [], MODE: []})
    activity: ActivityMap | None = None
    first: RecordSummary | None = None
    last: RecordSummary | None = None

    def add(self, record: RecordSummary) -> None:
        """Append the values of the next record."""
        self.steps.append(record.step)
        for key, column in self.numbers.items():
            value = record.values[key]
            column.append(math.nan if value is None else value)
        for key, stretches in self.changes.items():
            text = record.values[key] or ""
            if not stretches or stretches[-1][1] != text:
                stretches.append((len(self.steps) - 1, text))
        if self.activity is not None:
            self.activity.add(record.activity)
        self.first, self.last = self.first or record, record

    def has(self, key: str) -> bool:
        """Return True if a record has a number of this key."""
        return any(value == value for value in self.numbers[key])

    def best(self) -> tuple[int, float] | None:
        """Return step and value of the highest quality KI, the first of equal ones; None if there is none."""
        pairs = zip(self.steps, self.numbers["quality_ki_value"], strict=True)
        known = [(quality, -step) for step, quality in pairs if not math.isnan(quality)]
        if not known:
            return None
        quality, negative_step = max(known)
        return -negative_step, quality

    def stretches(self, key: str) -> list[tuple[int, int, str]]:
        """Return first index, last index and text of every stretch of records with the same phase or mode."""
        starts = [*self.changes[key], (len(self.steps), "")]
        return [(start, min(end, len(self.steps) - 1), text) for (start, text), (end, _) in pairwise(starts) if text]


def columns_of(label: str, records: Iterable[RecordSummary], count: int = 0) -> RunColumns:
    """Return the columns of one run's records, which are in the order of their steps.

    With `count`, their greatest number, the activity of layers too.
    """
    columns = RunColumns(label, activity=ActivityMap(count) if count else None)
    for record in records:
        columns.add(record)
    return columns


def training_seconds(columns: RunColumns) -> Sequence[float]:
    """Return the seconds of training up to each record: steps times seconds per step.

    Pauses, validations and the time between two starts are left out. NaN where seconds per step are not known.
    """
    seconds, before, known = 0.0, 0, math.nan
    found = array("d")
    for step, duration in zip(columns.steps, columns.numbers["iteration_duration"], strict=True):
        known = duration if duration > 0 else known
        seconds += (step - before) * known
        before = step
        found.append(seconds)
    return found


def plain_values(columns: RunColumns) -> Mapping[str, Any]:
    """Return the values of the last record; empty if there is none."""
    return {} if columns.last is None else columns.last.values
