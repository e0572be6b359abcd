"""The state of a run as the API reports it, derived from what the trainer last wrote and how long ago."""

from enum import StrEnum

LOST_AFTER_SECONDS = 10.0
STALLED_AFTER_SECONDS = 60.0
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


def derive_state(written: RunState, heartbeat_age_seconds: float, progress_age_seconds: float) -> RunState:
    """The state to report.

    `lost`: no heartbeat for 10 s. `stalled`: heartbeats, but no step, validation image or saved file for 60 s while
    running. Negative ages (a clock set back) count as fresh.
    """
    if written.has_ended:
        return written
    if heartbeat_age_seconds > LOST_AFTER_SECONDS:
        return RunState.LOST
    if written is RunState.RUNNING and progress_age_seconds > STALLED_AFTER_SECONDS:
        return RunState.STALLED
    return written
