"""The JSON Schema of a replay's file, for programs that write or check one."""

from typing import Any

from service.commands import WHY_LENGTH
from service.run.records.provenance.replay.file import FORMAT, FORMAT_VERSION, MAX_INTERVENTIONS, REPLAYED

_STEP = {"type": "integer", "minimum": 0}
_POSITION = {
    "type": "object",
    "required": ["branch_id", "step"],
    "properties": {"branch_id": _STEP, "step": _STEP},
}
_TEXT = {"type": ["string", "null"], "maxLength": WHY_LENGTH}


def replay_schema() -> dict[str, Any]:
    """Return the schema of this version's files."""
    intervention = {
        "type": "object",
        "required": ["kind", "branch_id", "step", "arguments"],
        "properties": {
            "kind": {"enum": [kind.value for kind in REPLAYED]},
            "branch_id": _STEP,
            "step": _STEP,
            "arguments": {"type": "object"},
            "actor": _TEXT,
            "why": _TEXT,
            "is_automatic": {"type": "boolean"},
            "command_id": _TEXT,
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Interventions in a run of Leitstand",
        "type": "object",
        "required": [
            *("format", "format_version", "run_id", "begin", "end", "made_with", "interventions", "left_out", "remarks")
        ],
        "properties": {
            "format": {"const": FORMAT},
            "format_version": {"const": FORMAT_VERSION},
            "leitstand_version": {"type": "string"},
            "run_id": {"type": "string"},
            "begin": _POSITION,
            "end": _POSITION,
            "made_with": {"type": "object"},
            "interventions": {"type": "array", "maxItems": MAX_INTERVENTIONS, "items": intervention},
            "left_out": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}},
            "remarks": {"type": "array", "items": {"type": "string"}},
        },
    }
