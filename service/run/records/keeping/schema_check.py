"""Whether an object is a record as the published schema defines it; an earlier version lacks the last keys."""

from collections.abc import Iterator, Mapping
from typing import Any

from service.run.record import Record
from service.run.record_schema import FIELDS
from service.run.records.saved_record import expected_keys

_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float),
    "null": type(None),
}  # fmt: skip


def violations(record: Record) -> Iterator[str]:
    """Yield how an object differs from the schema of its version, as sentences without a full stop."""
    for key in expected_keys(record):
        if key not in record:
            yield f"{key} is missing"
    for field in FIELDS:
        if field.name in record:
            yield from _violations(field.name, record[field.name], field.schema())


def _violations(path: str, value: Any, schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield where a value differs from the part of JSON Schema that the record's schema is made of."""
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(kind, value) for kind in kinds):
        yield f"{path} is {_shown(value)}, but must be of the type {' or '.join(kinds)}"
    elif isinstance(value, dict):
        yield from _members(path, value, schema)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _violations(f"{path}[{index}]", item, schema.get("items", {}))
    elif value is not None:
        yield from _limits(path, value, schema)


def _is(kind: str, value: Any) -> bool:
    return isinstance(value, _KINDS[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _members(path: str, value: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    properties, others = schema.get("properties", {}), schema.get("additionalProperties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{path}.{name} is missing"
    for name, item in value.items():
        if name in properties or others is not False:
            yield from _violations(f"{path}.{name}", item, properties.get(name, others))
        else:
            yield f"{path}.{name} is no part of it"


def _limits(path: str, value: Any, schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield a value beyond its range; NaN and infinity, which strict JSON has not, are beyond every range."""
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path} is {_shown(value)}, but must be one of {', '.join(schema['enum'])}"
    if isinstance(value, float) and not float("-inf") < value < float("inf"):
        yield f"{path} is {value}, but a number that is not finite must be null"
    elif "minimum" in schema and value < schema["minimum"]:
        yield f"{path} is {value}, but must be at least {schema['minimum']}"
    elif "maximum" in schema and value > schema["maximum"]:
        yield f"{path} is {value}, but must be at most {schema['maximum']}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
