"""The state of a run as the API reports it, derived from what the trainer last wrote and how long ago."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

LOST_AFTER_SECONDS = 10.0
STALLED_AFTER_SECONDS = 60.0
"""Where a run's STALL_SECONDS is not known."""
LEAST_STALL_SECONDS = 5.0
"""Progress is told once a second: that it has stopped cannot be told much faster, however small STALL_SECONDS is."""
LEFT_BY_SIGNAL = "left after a signal; ready to resume"
"""The reason of a run that a signal asked to leave."""


class RunState(StrEnum):
    """What a run is doing. `stalled` and `lost` are never written, only derived."""

    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    STALLED = "stalled"
    LOST = "lost"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def has_ended(self) -> bool:
        """Whether the trainer left on purpose or with an error, after saying so."""
        return self in {RunState.FINISHED, RunState.STOPPED, RunState.FAILED}

    @property
    def has_trainer(self) -> bool:
        """Whether a trainer is alive that could carry out a command."""
        return not self.has_ended and self is not RunState.LOST


def derive_state(
    written: RunState,
    heartbeat_age_seconds: float,
    progress_age_seconds: float,
    stall_seconds: float = STALLED_AFTER_SECONDS,
) -> RunState:
    """The state to report.

    `lost`: no heartbeat for 10 s. `stalled`: heartbeats, but no step, validation image or saved file for longer than
    `stall_seconds` (the run's STALL_SECONDS) while running. Negative ages (a clock set back) count as fresh.
    """
    if written.has_ended:
        return written
    if heartbeat_age_seconds > LOST_AFTER_SECONDS:
        return RunState.LOST
    if written is RunState.RUNNING and progress_age_seconds > max(stall_seconds, LEAST_STALL_SECONDS):
        return RunState.STALLED
    return written


def stall_seconds_of(config: Mapping[str, Any], live: Mapping[str, Any] | None) -> float:
    """STALL_SECONDS as it is in force: of a run that was started with `config`, and what was set since."""
    changes = (live or {}).get("changes", {})
    value = changes.get("STALL_SECONDS", config.get("STALL_SECONDS"))
    return float(value) if isinstance(value, int | float) else STALLED_AFTER_SECONDS
