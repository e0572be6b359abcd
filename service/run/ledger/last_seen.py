"""What was last heard of a start: by the next one, or by whoever reads the run's row now."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.run.ledger.time_spent import TimeSpent, number
from service.run.state import LEFT_BY_SIGNAL, RunState


@dataclass(frozen=True)
class LastSeen:
    """The end of a start, as far as it is known: state and its reason, step, last sign of life (Unix s), time spent."""

    state: str
    reason: str | None
    step: int | None
    heartbeat_at: float
    started_at: float
    spent: TimeSpent | None

    @classmethod
    def parse(cls, value: Any) -> "LastSeen | None":
        """Return what `last_seen_as_dict` has made; None for anything else."""
        if not isinstance(value, Mapping) or (heartbeat_at := number(value.get("heartbeat_at"))) is None:
            return None
        step, started_at, reason = value.get("step"), number(value.get("started_at")), value.get("reason")
        return cls(
            str(value.get("state")),
            reason if isinstance(reason, str) else None,
            step if isinstance(step, int) else None,
            heartbeat_at,
            heartbeat_at if started_at is None else started_at,
            TimeSpent.parse(value.get("time_spent")),
        )

    @property
    def was_asked_for(self) -> bool:
        """Whether the run was finished, or a person stopped it: nobody expected a trainer then."""
        is_stopped = self.state == RunState.STOPPED and self.reason != LEFT_BY_SIGNAL
        return is_stopped or self.state == RunState.FINISHED

    @property
    def was_orderly(self) -> bool:
        """Whether the trainer left as it should, also after a signal."""
        return self.state in {RunState.STOPPED, RunState.FINISHED}


def last_seen_as_dict(
    *,
    state: str,
    reason: str | None,
    step: int,
    heartbeat_at: float,
    started_at: float,
    facts: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return what the next start stores of the run's row, before it overwrites that."""
    return {
        "state": state, "reason": reason, "step": step, "heartbeat_at": heartbeat_at, "started_at": started_at,
        "time_spent": (facts or {}).get("time_spent"),
    }  # fmt: skip
