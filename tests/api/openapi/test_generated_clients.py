"""What generators of clients make of the contract: a type for every schema, under a name that no other folds to."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from api.app import create_app
from api.openapi.document import build
from service.config.settings import RunConfig

Schema = Mapping[str, Any]


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return build(create_app(RunConfig(data_root=tmp_path_factory.mktemp("nothing"))))


def types_in(schema: Schema, name: str, parent: str = "") -> Iterator[str]:
    """The names that openapi-python-client gives to the types of a schema and of all described within it.

    An object is `parent` + its title or else its member's name; so do openapi-generator and others.
    """
    own = f"{parent}_{schema.get('title', name)}"
    if "enum" in schema or schema.get("type") == "object":
        yield own
    for member, described in schema.get("properties", {}).items():
        yield from types_in(described, member, own)
    for number, choice in enumerate(schema.get("anyOf", ())):
        yield from types_in(choice, f"{name}_type_{number}", parent)
    if isinstance(schema.get("items"), Mapping):
        yield from types_in(schema["items"], f"{name}_item", parent)
    if isinstance(schema.get("additionalProperties"), Mapping):
        yield from types_in(schema["additionalProperties"], "additional_property", own)


def generated_types(document: dict[str, Any]) -> Iterator[str]:
    for name, schema in document["components"]["schemas"].items():
        yield from types_in(schema, name)
    for operation in operations(document):
        identity = operation["operationId"]
        for parameter in operation.get("parameters", ()):
            yield from types_in(parameter["schema"], parameter["name"], identity)
        for content in operation.get("requestBody", {}).get("content", {}).values():
            yield from types_in(content["schema"], "body", identity)
        for status, response in operation["responses"].items():
            for content in response.get("content", {}).values():
                yield from types_in(content["schema"], f"response_{status}", identity)


def operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for methods in document["paths"].values():
        yield from methods.values()


def folded(name: str) -> str:
    """What is left of a name in the style of any language."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def test_no_two_types_of_a_generated_client_have_one_name(document: dict[str, Any]) -> None:
    names = defaultdict(list)
    for name in generated_types(document):
        names[folded(name)].append(name)

    assert len(names) > 50
    assert {name: found for name, found in names.items() if len(found) > 1} == {}


def test_no_two_operations_of_a_generated_client_have_one_name(document: dict[str, Any]) -> None:
    names = [folded(operation["operationId"]) for operation in operations(document)]

    assert len(set(names)) == len(names)


def test_the_same_fold_finds_a_member_that_is_named_as_another_schema() -> None:
    value = {"type": "object", "additionalProperties": {"$ref": "#/components/schemas/EnvelopeSeries"}}
    envelope = {"type": "object", "properties": {"series": value}}

    assert list(map(folded, types_in(envelope, "Envelope"))) == ["envelope", folded("EnvelopeSeries")]


def test_linters_find_everything_said_and_nothing_unused(document: dict[str, Any], repository: Path) -> None:
    text = (repository / "docs" / "openapi.json").read_text(encoding="utf-8")

    assert document["info"].keys() >= {"title", "version", "description", "contact", "license"}
    assert [name for name in document["components"]["schemas"] if f'"#/components/schemas/{name}"' not in text] == []
    assert [operation["operationId"] for operation in operations(document) if not operation["description"]] == []
    assert [path for path, schema in objects(document) if not set(schema.get("required", ())) <= members(schema)] == []


def objects(value: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema of an object in the document, with its place."""
    if isinstance(value, dict):
        if value.get("type") == "object":
            yield path, value
        for key, item in value.items():
            yield from objects(item, f"{path}/{key}")


def members(schema: Schema) -> set[str]:
    return set(schema.get("properties", {}))
