"""The answer of `GET /state`: the live snapshot with the reported state, ages and rank rows."""

from typing import Any

from service.run.record import KEYS
from service.run.record_schema import record_schema
from service.run.state import RunState
from service.store.store import RunRow

_MAKES_STEPS = frozenset({RunState.RUNNING, RunState.STALLED})
FLAGS = ("training_active", "validation_running", "training_paused")

_MAY_VALIDATE = _MAKES_STEPS | {RunState.PAUSED}


def state_schema() -> dict[str, Any]:
    """The JSON Schema of the answer: the record's keys, each null before the first log point, and the run's state."""
    record = record_schema()["properties"]
    snapshot = {key: {"anyOf": [record[key], {"type": "null"}]} for key in KEYS}
    number, text = {"type": "number", "minimum": 0}, {"type": "string"}
    own = {
        "run_state": {"type": "string", "enum": [state.value for state in RunState]},
        "run_reason": {"anyOf": [text, {"type": "null"}]},
        "age_seconds": {**number, "description": "seconds since the trainer's last sign of life"},
        "progress_age_seconds": {**number, "description": "seconds since the trainer last moved on"},
        "started_at": number,
        "step_live": {"type": "integer", "minimum": 0, "description": "the last step done; the keys may lag behind"},
    }
    of_the_run = {"run_id": text, **{flag: {"type": "boolean"} for flag in FLAGS}}
    properties = {**snapshot, **of_the_run, **own}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


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
