"""JSON Schemas of the command bodies, for the OpenAPI document."""

from collections.abc import Mapping
from typing import Any

from api.http.operation import Body
from service.commands import Kind
from service.config.live_settings import ADAPTIVE, CHANGEABLE, PINNABLE, allowed_text
from service.config.settings import RunConfig, rule_of

Schema = Mapping[str, Any]

JSON_TYPES = ("application/json",)
PATCH_TYPES = (*JSON_TYPES, "application/merge-patch+json")
"""Media types of a settings change, which is a merge patch (RFC 7396) of the changeable settings."""

_TYPES = {int: "integer", float: "number", bool: "boolean"}


def body_of(kind: Kind) -> Body:
    """Return the declared body of a command of this kind."""
    if kind is Kind.SET:
        return Body(_settings_schema(), True, {"LR_SCALE": 0.5, "L1_WEIGHT": ADAPTIVE}, PATCH_TYPES)
    if kind is Kind.ROLLBACK:
        return Body(_ROLLBACK, example={"checkpoint": "best"})
    return Body(_EMPTY_OBJECT, example={})


def _settings_schema() -> Schema:
    names = (*CHANGEABLE, *PINNABLE)
    return {
        "type": "object",
        "properties": {name: _setting_schema(name) for name in names},
        "minProperties": 1,
        "additionalProperties": False,
    }


def _setting_schema(name: str) -> Schema:
    """Return the schema of one setting's JSON values; the server also accepts them as text."""
    rule = rule_of(name.lower())
    bounds = {"minimum": rule.minimum, "maximum": rule.maximum}
    value = {
        "type": _TYPES[RunConfig.__annotations__[name.lower()]],
        **{key: bound for key, bound in bounds.items() if bound is not None},
    }
    description = f"{rule.meaning}: {allowed_text(name)}"
    if name not in PINNABLE:
        return {**value, "description": description}
    return {"anyOf": [value, {"const": ADAPTIVE}, {"type": "null"}], "description": description}


_EMPTY_OBJECT: Schema = {"type": "object", "additionalProperties": False}
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
