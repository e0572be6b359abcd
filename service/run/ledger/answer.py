"""The ledger of a run as it is told: in an answer of `/state`, in metrics, in a report."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from service.run.ledger.incident import Incident
from service.run.ledger.time_spent import TimeUse

SHOWN_INCIDENTS = 10
"""Incidents in an answer of `/state`, the newest; their counts are of all."""


@dataclass(frozen=True)
class LedgerAnswer:
    """The ledger of a run as of its last sign of life.

    `seconds` are by `TimeUse`; together they are `wall_seconds`, the time since the first start began. The share of
    useful time is that of the time whose use is known; None if none is. `incidents` are the newest first, at most some
    hundreds; `incident_counts` by kind counts all, and `steps_lost` theirs.
    """

    seconds: Mapping[TimeUse, float] = field(default_factory=dict)
    incidents: tuple[Incident, ...] = ()
    incident_counts: Mapping[str, int] = field(default_factory=dict)
    steps_lost: int = 0

    @property
    def wall_seconds(self) -> float:
        """Seconds since the first start began, up to the last sign of life."""
        return sum(self.seconds.values())

    @property
    def useful_time_ratio(self) -> float | None:
        """Useful share of the time whose use is known."""
        known_seconds = self.wall_seconds - self.seconds.get(TimeUse.UNKNOWN, 0.0)
        return self.seconds.get(TimeUse.USEFUL, 0.0) / known_seconds if known_seconds > 0 else None

    @cached_property
    def in_state(self) -> Mapping[str, Any]:
        """The ledger as `/state` answers it, with the newest incidents alone; made once for all who ask."""
        ratio = self.useful_time_ratio
        return {
            "useful_time_ratio": None if ratio is None else round(ratio, 6),
            "wall_seconds": round(self.wall_seconds, 3),
            "time_seconds": {use.value: self.seconds.get(use, 0.0) for use in TimeUse},
            "incident_counts": dict(self.incident_counts),
            "steps_lost": self.steps_lost,
            "incidents": [incident.as_dict() for incident in self.incidents[:SHOWN_INCIDENTS]],
        }


def answer_of(state: Mapping[str, Any]) -> LedgerAnswer | None:
    """Return the ledger in an answer of `/state`, with the newest incidents alone; None if that has none."""
    try:
        seconds = {use: float(state["time_seconds"][use.value]) for use in TimeUse}
        incidents = tuple(map(Incident.parse, state["incidents"]))
        return LedgerAnswer(seconds, incidents, dict(state["incident_counts"]), int(state["steps_lost"]))
    except (KeyError, TypeError, ValueError):
        return None
