"""What the bodies of commands may hold, as JSON Schemas for the published contract."""

from collections.abc import Mapping
from typing import Any

from api.http.operation import Body
from service.commands import Kind
from service.config.live_settings import ADAPTIVE, CHANGEABLE, PINNABLE, allowed_text
from service.config.settings import RunConfig, rule_of

Schema = Mapping[str, Any]

JSON_TYPES = ("application/json",)
PATCH_TYPES = (*JSON_TYPES, "application/merge-patch+json")
"""What a change of settings may be called: it is a merge patch (RFC 7396) of what can change."""

_TYPES = {int: "integer", float: "number", bool: "boolean"}


def body_of(kind: Kind) -> Body:
    """The body of a command of this kind."""
    if kind is Kind.SET:
        return Body(_settings(), True, {"LR_SCALE": 0.5, "L1_WEIGHT": ADAPTIVE}, PATCH_TYPES)
    if kind is Kind.ROLLBACK:
        return Body(_ROLLBACK, example={"checkpoint": "best"})
    return Body(_NOTHING, example={})


def _settings() -> Schema:
    names = (*CHANGEABLE, *PINNABLE)
    return {
        "type": "object",
        "properties": {name: _setting(name) for name in names},
        "minProperties": 1,
        "additionalProperties": False,
    }


def _setting(name: str) -> Schema:
    """One setting's values as JSON has them; the server also understands them as text."""
    rule = rule_of(name.lower())
    bounds = {"minimum": rule.minimum, "maximum": rule.maximum}
    value = {
        "type": _TYPES[RunConfig.__annotations__[name.lower()]],
        **{key: bound for key, bound in bounds.items() if bound is not None},
    }
    meaning = f"{rule.meaning}: {allowed_text(name)}"
    if name not in PINNABLE:
        return {**value, "description": meaning}
    return {"anyOf": [value, {"const": ADAPTIVE}, {"type": "null"}], "description": meaning}


_NOTHING: Schema = {"type": "object", "additionalProperties": False}
_ROLLBACK: Schema = {
    "type": "object",
    "properties": {
        "checkpoint": {
            "anyOf": [
                {"type": "string", "pattern": r"^(?:latest|best|[0-9]{1,18}|step_[0-9]{7,18})$"},
                {"type": "integer", "minimum": 0, "maximum": 10**18 - 1},
            ],
            "default": "latest",
            "description": "the newest, the best, or that of a step (500) or a name (step_0000500)",
        }
    },
    "additionalProperties": False,
}
