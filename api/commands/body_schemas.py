"""JSON Schemas of the bodies of commands and of a run's description, for the OpenAPI document.

Each has a name there: generators of clients make one type of a name, but several with equal names of a body that is
described in its place.
"""

from collections.abc import Mapping
from typing import Any

from api.http.operation import Body
from service.commands import CLIP_LENGTH, CLIP_PATTERN, LAST_PREVIEW_FRAME, MAX_PREVIEW_FRAMES, WHY_LENGTH, Kind
from service.config.live_settings import ADAPTIVE, CHANGEABLE, PINNABLE, allowed_text
from service.config.settings import RunConfig, rule_of
from service.errors import UNPRINTABLE
from service.run.identity import NAME_LENGTH, NOTE_LENGTH

Schema = Mapping[str, Any]

JSON_TYPES = ("application/json",)
PATCH_TYPES = (*JSON_TYPES, "application/merge-patch+json")
"""Media types of a settings change, which is a merge patch (RFC 7396) of the changeable settings."""

_TYPES = {int: "integer", float: "number", bool: "boolean"}


def body_of(kind: Kind) -> Body:
    """Return the declared body of a command of this kind."""
    if kind is Kind.SET:
        return Body(_reference("SettingsChange"), True, {"LR_SCALE": 0.5, "L1_WEIGHT": ADAPTIVE}, PATCH_TYPES)
    if kind is Kind.ROLLBACK:
        return Body(_reference("RollbackArguments"), example={"checkpoint": "best"})
    if kind is Kind.PREVIEW:
        return Body(_reference("PreviewArguments"), True, {"clip": "street.mp4", "frame": 100, "frames": 24})
    return Body(_reference("NoArguments"), example={})


def body_schemas() -> dict[str, Schema]:
    """Return the schemas of all bodies by name."""
    return {
        "NoArguments": _EMPTY_OBJECT,
        "PreviewArguments": _PREVIEW,
        "RollbackArguments": _ROLLBACK,
        "SettingsChange": _settings_schema(),
        "RunDescription": _DESCRIPTION,
    }


def description_body() -> Body:
    """Return the declared body of a change of a run's name and note."""
    return Body(_reference("RunDescription"), True, {"name": "deeper network"}, PATCH_TYPES)


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _settings_schema() -> Schema:
    names = (*CHANGEABLE, *PINNABLE)
    return {
        "type": "object",
        "description": "New values of settings that can change while a run goes on.",
        "properties": {**{name: _setting_schema(name) for name in names}, "why": _WHY},
        "minProperties": 1,
        "not": {"required": ["why"], "maxProperties": 1},
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


def _text_or_null(description: str, max_length: int, kept: str = "") -> Schema:
    """Return the schema of a text that a person gives, without unprintable characters but those in `kept`."""
    pattern = "|".join((f"[^{_unprintable()}]", *map(_escaped, kept)))
    return {
        "type": ["string", "null"],
        "maxLength": max_length,
        "pattern": f"^(?:{pattern})*$",
        "description": description,
    }


def _unprintable() -> str:
    """Return the inside of a set of characters for a pattern.

    Unpaired surrogates are in no text that JSON can carry, and not every engine takes them in a pattern.
    """
    return "".join(map(_escaped, UNPRINTABLE.pattern[1:-1])).replace(r"\ud800-\udfff", "")


def _escaped(character: str) -> str:
    return character if character == "-" else f"\\u{ord(character):04x}"


_WHY = _text_or_null("why the person asks for it: kept with the command", WHY_LENGTH)
_EMPTY_OBJECT: Schema = {
    "type": "object",
    "description": "The body of a command without arguments; it may be absent.",
    "properties": {"why": _WHY},
    "additionalProperties": False,
}
_DESCRIPTION: Schema = {
    "type": "object",
    "description": "What people call a run and write down about it; null or an empty text takes it away.",
    "properties": {
        "name": _text_or_null("a name for people, one line; several runs may have the same", NAME_LENGTH),
        "note": _text_or_null("a note for people, of any number of lines", NOTE_LENGTH, "\n\t"),
    },
    "minProperties": 1,
    "additionalProperties": False,
}
_ROLLBACK: Schema = {
    "type": "object",
    "description": "Which checkpoint to return to.",
    "properties": {
        "checkpoint": {
            "anyOf": [
                {"type": "string", "pattern": r"^(?:latest|best|[0-9]{1,18}|step_[0-9]{7,18})$"},
                {"type": "integer", "minimum": 0, "maximum": 10**18 - 1},
            ],
            "default": "latest",
            "description": "the newest, the best, or that of a step (500) or a name (step_0000500)",
        },
        "why": _WHY,
    },
    "additionalProperties": False,
}
_PREVIEW: Schema = {
    "type": "object",
    "description": "Which part of a clip to render with the present weights.",
    "properties": {
        "clip": {
            "type": "string",
            "maxLength": CLIP_LENGTH,
            "pattern": CLIP_PATTERN.replace(UNPRINTABLE.pattern[1:-1], _unprintable()),
            "description": "the name of a validation image, or of a video, a picture or a folder of pictures below "
            "PREVIEW_ROOT",
        },
        "frame": {
            "type": "integer",
            "minimum": 0,
            "maximum": LAST_PREVIEW_FRAME,
            "default": 0,
            "description": "the first frame that is shown, counted from 0",
        },
        "frames": {
            "type": "integer",
            "minimum": 1,
            "maximum": MAX_PREVIEW_FRAMES,
            "default": 1,
            "description": "how many frames are shown; several make a moving picture",
        },
        "why": _WHY,
    },
    "required": ["clip"],
    "additionalProperties": False,
}
