"""The state of a run as the API reports it, from what the trainer last wrote, and when it will have finished."""

import re
import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

LOST_AFTER_SECONDS = 10.0
STALLED_AFTER_SECONDS = 60.0
"""Used if a run's STALL_SECONDS is not known."""
MIN_STALL_SECONDS = 5.0
"""Lower limit of STALL_SECONDS here: progress is written once a second, so a stall cannot be detected much faster."""
LEFT_BY_SIGNAL = "left after a signal; ready to resume"
"""The `reason` of a run that a signal terminated."""

WEEK_SECONDS = 6 * 24 * 3600.0
_ETA = re.compile(r"(\d+):(\d\d):(\d\d)")


class RunState(StrEnum):
    """The states of a run. `stalled` and `lost` are never written, only derived."""

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
        """True if the trainer has reported its end, on request or with an error."""
        return self in {RunState.FINISHED, RunState.STOPPED, RunState.FAILED}

    @property
    def has_trainer(self) -> bool:
        """True if a live trainer could execute a command."""
        return not self.has_ended and self is not RunState.LOST


def derive_state(
    written: RunState,
    heartbeat_age_seconds: float,
    progress_age_seconds: float,
    stall_seconds: float = STALLED_AFTER_SECONDS,
) -> RunState:
    """Return the state to report, given the written state and the ages of heartbeat and progress in seconds.

    `lost`: no heartbeat for 10 s. `stalled`: heartbeats while running, but no step, validation image or saved file for
    longer than `stall_seconds` (the run's STALL_SECONDS). Negative ages (the clock was set back) count as zero.
    """
    if written.has_ended:
        return written
    if heartbeat_age_seconds > LOST_AFTER_SECONDS:
        return RunState.LOST
    if written is RunState.RUNNING and progress_age_seconds > max(stall_seconds, MIN_STALL_SECONDS):
        return RunState.STALLED
    return written


def effective_stall_seconds(config: Mapping[str, Any], live: Mapping[str, Any] | None) -> float:
    """Return the effective STALL_SECONDS, given a run's settings at the start and its live settings."""
    changes = (live or {}).get("changes", {})
    value = changes.get("STALL_SECONDS", config.get("STALL_SECONDS"))
    return float(value) if isinstance(value, int | float) else STALLED_AFTER_SECONDS


def finish_time(snapshot: Mapping[str, Any]) -> float | None:
    """Return the Unix time (s) at which a running training will have finished; None if its snapshot does not tell."""
    match, told_at = _ETA.fullmatch(snapshot.get("eta_total_formatted") or ""), snapshot.get("last_update_time")
    if match is None or told_at is None:
        return None
    hours, minutes, seconds = map(int, match.groups())
    return float(told_at) + 3600 * hours + 60 * minutes + seconds


def clock(at: float, now: float) -> str:
    """Return a time of day, with the weekday or the date where it is another day than `now`."""
    moment, today = time.localtime(at), time.localtime(now)
    if moment[:3] == today[:3]:
        return time.strftime("%H:%M", moment)
    return time.strftime("%a %H:%M" if abs(at - now) < WEEK_SECONDS else "%Y-%m-%d %H:%M", moment)
