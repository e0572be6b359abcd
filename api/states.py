"""`/state`: the live snapshot under the record's keys, and what the run is doing now."""

import time
from typing import Any

from flask import Blueprint

from api.reader import current_reader
from service.record import KEYS
from service.run_state import RunState
from service.store import RunRow

blueprint = Blueprint("states", __name__)

_MAKES_STEPS = frozenset({RunState.RUNNING, RunState.STALLED})
_MAY_VALIDATE = _MAKES_STEPS | {RunState.PAUSED}


@blueprint.get("/state")
def show() -> dict[str, Any]:
    """What the current run is doing."""
    reader = current_reader()
    return state_answer(reader.run(), time.time())


def state_answer(run: RunRow, now: float) -> dict[str, Any]:
    """One flat object at the Unix time `now`; the record's keys are None before the first log point."""
    snapshot = run.snapshot or {}
    state = run.reported_state(now)
    return {
        **{key: snapshot.get(key) for key in KEYS},
        "run_id": run.id,
        **_flags(run, state),
        "run_state": state.value,
        "run_reason": run.reason,
        "age_seconds": max(0.0, now - run.heartbeat_at),
        "progress_age_seconds": max(0.0, now - run.progress_at),
        "started_at": run.started_at,
        "step_live": run.step,
    }


def _flags(run: RunRow, state: RunState) -> dict[str, bool]:
    """The flags that must not lag behind: the snapshot may be a log point old, or left by a trainer that is gone."""
    snapshot = run.snapshot or {}
    is_of_this_step = snapshot.get("step_current", -1) >= run.step
    return {
        "training_active": state in _MAKES_STEPS,
        "validation_running": bool(snapshot.get("validation_running")) and is_of_this_step and state in _MAY_VALIDATE,
        "training_paused": state is RunState.PAUSED,
    }
