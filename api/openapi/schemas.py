"""JSON Schemas of everything the API answers, made from the types of `service/api_types.py` by pydantic."""

from collections.abc import Iterable
from typing import Any

from service import api_types
from service.run.record_schema import record_schema

REFERENCE = "#/components/schemas/{model}"


def shape_schemas(shapes: Iterable[Any]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """({name of a shape: its schema}, {name of a type: its definition}); shapes are types, named as `repr` has them."""
    from pydantic import TypeAdapter

    adapters = [(repr(shape), "serialization", TypeAdapter(shape)) for shape in shapes]
    found, definitions = TypeAdapter.json_schemas(adapters, ref_template=REFERENCE)  # type: ignore[arg-type]  # str keys
    named = {str(key): schema for (key, _), schema in found.items()}
    return named, {name: _closed(schema) for name, schema in definitions.get("$defs", {}).items()}


def answer_shapes() -> dict[str, Any]:
    """{name: type} of every answer, by name."""
    found = {name: value for name, value in vars(api_types).items() if hasattr(value, "__total__")}
    return dict(sorted(found.items()))


def all_schemas() -> dict[str, Any]:
    """Every definition by name, the record's among them."""
    _, definitions = shape_schemas(answer_shapes().values())
    record = {key: value for key, value in record_schema().items() if not key.startswith("$")}
    return dict(sorted({**definitions, "Record": record}.items()))


def standalone(name: str) -> dict[str, Any] | None:
    """The schema of one type as a document of its own, what it refers to included; None when there is no such type."""
    if name not in answer_shapes():
        return None
    _, definitions = shape_schemas([answer_shapes()[name]])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"/schema/{name}.json",
        "$ref": f"#/$defs/{name}",
        "$defs": _referring_inside(definitions),
    }


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """An answer has the members of its type and no others; their names need no titles besides."""
    members = schema.get("properties", {})
    untitled = {name: {key: item for key, item in member.items() if key != "title"} for name, member in members.items()}
    return {**schema, "properties": untitled, "additionalProperties": False} if members else schema


def _referring_inside(value: Any) -> Any:
    """The same with references to `$defs` instead of to a document's components."""
    if isinstance(value, dict):
        return {key: _referring_inside(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_referring_inside(item) for item in value]
    return value.replace("#/components/schemas/", "#/$defs/") if isinstance(value, str) else value
