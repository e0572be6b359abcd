"""Answer of `GET /state`: the live snapshot with the reported state and the ages of heartbeat and progress."""

from typing import Any

from service.run.ledger.answer import SHOWN_INCIDENTS, LedgerAnswer
from service.run.ledger.incident import IncidentKind, incident_schema
from service.run.ledger.time_spent import TimeUse
from service.run.record import KEYS
from service.run.record_schema import record_schema
from service.run.state import RunState
from service.store.store import RunRow

_TRAINING_STATES = frozenset({RunState.RUNNING, RunState.STALLED})
FLAGS = ("training_active", "validation_running", "training_paused")

_VALIDATING_STATES = _TRAINING_STATES | {RunState.PAUSED}


def state_schema() -> dict[str, Any]:
    """Return the JSON Schema of the answer: the record's keys, null before the first log point, and the run's state."""
    record = record_schema()["properties"]
    snapshot = {key: {"anyOf": [record[key], {"type": "null"}]} for key in KEYS}
    number, text = {"type": "number", "minimum": 0}, {"type": "string"}
    run_properties = {
        "run_state": {"type": "string", "enum": [state.value for state in RunState]},
        "run_reason": {"anyOf": [text, {"type": "null"}]},
        "age_seconds": {**number, "description": "seconds since the trainer's last sign of life"},
        "progress_age_seconds": {**number, "description": "seconds since the trainer last moved on"},
        "started_at": number,
        "step_live": {"type": "integer", "minimum": 0, "description": "the last step done; the keys may lag behind"},
        "run_name": {"anyOf": [text, {"type": "null"}], "description": "what people call the run"},
        "run_note": {"anyOf": [text, {"type": "null"}], "description": "what people wrote down about the run"},
    }
    identity_properties = {"run_id": text, **{flag: {"type": "boolean"} for flag in FLAGS}}
    properties = {**snapshot, **identity_properties, **run_properties, **_ledger_properties()}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _ledger_properties() -> dict[str, Any]:
    seconds, count = {"type": "number", "minimum": 0}, {"type": "integer", "minimum": 0}
    uses, kinds = [use.value for use in TimeUse], [kind.value for kind in IncidentKind]
    return {
        "useful_time_ratio": {
            "anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "null"}],
            "description": "time in steps whose work was kept, of the wall time whose use is known; null if none is",
        },
        "wall_seconds": {**seconds, "description": "since the run's first start began, up to the last sign of life"},
        "time_seconds": {
            "type": "object", "properties": dict.fromkeys(uses, seconds), "required": uses,
            "additionalProperties": False, "description": "what the wall time went to",
        },
        "incident_counts": {
            "type": "object", "properties": dict.fromkeys(kinds, count), "additionalProperties": False,
            "description": "incidents of the run by kind",
        },
        "steps_lost": {**count, "description": "steps that incidents of the run have cost, as far as is known"},
        "incidents": {
            "type": "array", "items": incident_schema(), "maxItems": SHOWN_INCIDENTS,
            "description": "the newest incidents, newest first",
        },
    }  # fmt: skip


def state_answer(run: RunRow, now: float, ledger: LedgerAnswer) -> dict[str, Any]:
    """Return the state as one flat object at the Unix time `now`; record keys are None before the first log point."""
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
        "run_name": run.name,
        "run_note": run.note,
        **ledger.in_state,
    }


def _flags(run: RunRow, state: RunState) -> dict[str, bool]:
    """Return the flags as they are now: the snapshot may be a log point old, or written by a trainer that has died."""
    snapshot = run.snapshot or {}
    is_current = snapshot.get("step_current", -1) >= run.step
    return {
        "training_active": state in _TRAINING_STATES,
        "validation_running": bool(snapshot.get("validation_running")) and is_current and state in _VALIDATING_STATES,
        "training_paused": state is RunState.PAUSED,
    }
