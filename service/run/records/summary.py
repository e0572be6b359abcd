"""What most questions need of one record: all its single values, and few numbers about the nested ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from service.loss_terms import LOSS_TERMS, TOTAL_LOSS_KEY
from service.run.record import Record
from service.run.records.saved_record import Origin, Remark, RemarkKind, SavedRecord

NESTED = frozenset({"layer_activity_map", "layer_activity_raw_map", "per_rank", "validation_images", "validation_sets"})
"""Keys whose values are lists or objects: most of a record's size."""

_FINITE_KEYS = (
    TOTAL_LOSS_KEY, *(term.loss_key for term in LOSS_TERMS), "grad_norm", "quality_ki_value", "validation_loss_value",
)  # fmt: skip
"""Numbers that every record has; in a file of Leitstand, null says that they were not finite."""

Activity = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class RecordSummary:
    """One record without its nested values.

    `values` has the other keys of docs/records.md. `activity` is the percentage of each layer; `slowness` how many
    times as long as the median of all ranks the slow rank's own work took; `not_finite` the keys that were not finite.
    """

    path: Path
    run: str
    branch: str
    step: int
    origin: Origin
    values: Record
    activity: Activity
    slowness: float | None
    not_finite: tuple[str, ...]
    remarks: tuple[Remark, ...]


def summary_of(record: SavedRecord) -> RecordSummary:
    """Return the summary of a record."""
    values = {key: value for key, value in record.values.items() if key not in NESTED}
    activity = record.values["layer_activity_map"] or {}
    return RecordSummary(
        record.path, record.run, record.branch, record.step, record.origin, values, activity, _slowness(record.values),
        _not_finite(record), record.remarks,
    )  # fmt: skip


def _not_finite(record: SavedRecord) -> tuple[str, ...]:
    found = dict.fromkeys(r.key.partition(".")[0] for r in record.remarks if r.kind is RemarkKind.NOT_FINITE)
    if record.origin is Origin.LEITSTAND:
        found |= dict.fromkeys(key for key in _FINITE_KEYS if key in record.raw and record.raw[key] is None)
    return tuple(found)


def _slowness(values: Mapping[str, Any]) -> float | None:
    ranks = [rank for rank in values["per_rank"] or [] if isinstance(rank, dict)]
    own = {rank.get("rank"): rank.get("own_duration") for rank in ranks}
    slow, known = own.get(values["slow_rank"]), [value for value in own.values() if value]
    return slow / median(known) if slow and known else None
