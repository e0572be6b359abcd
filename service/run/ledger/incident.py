"""An incident: what kept a run from training, when that was noticed and over, and what it cost."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any


class IncidentKind(StrEnum):
    """What happened.

    rank_killed   a signal ended the process of a rank, and the launcher started all again
    restart       the launcher started all ranks again for another reason: a rank failed, or nothing says what happened
    machine_lost  the launcher started the ranks that were left, which were fewer than before
    trainer_down  no trainer was there: it ended with an error, or without a word
    stall         a rank kept all from moving on
    rollback      the run went back to a checkpoint, asked by a person or after steps that were not finite
    """

    RANK_KILLED = "rank_killed"
    RESTART = "restart"
    MACHINE_LOST = "machine_lost"
    TRAINER_DOWN = "trainer_down"
    STALL = "stall"
    ROLLBACK = "rollback"


class Recovery(StrEnum):
    """From which state a run trained again."""

    SURVIVOR = "survivor"
    CHECKPOINT = "checkpoint"
    BEGINNING = "beginning"
    UNHARMED = "unharmed"


@dataclass(frozen=True)
class Incident:
    """One incident; None is what is not known. Times are Unix seconds.

    `began_at` is when the last sign of progress was, `detected_at` when the trouble was noticed, `named_at` when it was
    known what it was, by `named_by` (launcher, watchdog, trainer, person, alert, start), `training_at` when all trained
    again. `step` is the last step before it, and `steps_lost` how many of them had to be made again. `source` is the
    rank or the checkpoint of the state that the run continued from. `is_over` is False while it lasts.
    """

    kind: IncidentKind
    began_at: float | None = None
    detected_at: float | None = None
    named_at: float | None = None
    training_at: float | None = None
    step: int | None = None
    steps_lost: int | None = None
    ranks: tuple[int, ...] | None = None
    recovery: Recovery | None = None
    source: str | None = None
    named_by: str | None = None
    reason: str | None = None
    is_over: bool = False

    @property
    def recovery_seconds(self) -> float | None:
        """Seconds from the moment at which it was noticed until all trained again; None if not known."""
        if self.detected_at is None or self.training_at is None:
            return None
        return max(0.0, self.training_at - self.detected_at)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        values: dict[str, Any] = {name: getattr(self, name) for name in _NAMES}
        values["kind"] = self.kind.value
        values["ranks"] = None if self.ranks is None else list(self.ranks)
        values["recovery"] = None if self.recovery is None else self.recovery.value
        return {**values, "recovery_seconds": _rounded(self.recovery_seconds)}

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> "Incident":
        """Return what `as_dict` has made; raises `ValueError`, `KeyError` or `TypeError` for anything else."""
        own = {name: value[name] for name in _NAMES}
        ranks, recovery = own["ranks"], own["recovery"]
        own["ranks"] = None if ranks is None else tuple(ranks)
        own["recovery"] = None if recovery is None else Recovery(recovery)
        return cls(**{**own, "kind": IncidentKind(own["kind"])})


_NAMES = tuple(field.name for field in fields(Incident))


def incident_schema() -> dict[str, Any]:
    """Return the JSON Schema of an incident."""
    moment = {"anyOf": [{"type": "number"}, {"type": "null"}]}
    count = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]}
    text = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    ranks = {"anyOf": [{"type": "array", "items": {"type": "integer", "minimum": 0}}, {"type": "null"}]}
    recoveries = [*(recovery.value for recovery in Recovery), None]
    properties: Mapping[str, Any] = {
        "kind": {"type": "string", "enum": [kind.value for kind in IncidentKind]},
        "began_at": moment, "detected_at": moment, "named_at": moment, "training_at": moment,
        "step": count, "steps_lost": count, "ranks": ranks,
        "recovery": {"enum": recoveries}, "source": text, "named_by": text, "reason": text,
        "is_over": {"type": "boolean"}, "recovery_seconds": moment,
    }  # fmt: skip
    return {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False,
    }  # fmt: skip


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
