"""`/docs`: the OpenAPI document as an HTML page, without scripts and without another server."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from flask import render_template
from markupsafe import Markup, escape

from api.http.parameters import LARGEST
from api.http.problem_types import PROBLEMS
from api.openapi.document import SCOPE_SENTENCES
from service import __version__

SERVER = "localhost:5050"
TAG_ORDER = (
    "controls", "actions", "live_settings", "states", "events", "alerts", "records", "comparison", "series", "previews",
    "checkpoints", "ranks", "logs", "runs", "metrics", "health", "documents", "problems", "page",
)  # fmt: skip
"""Order of the groups of routes on the page: steering, watching, history, the rest."""

Schema = Mapping[str, Any]


def page(document: Mapping[str, Any]) -> str:
    """Render the page; needs an application context."""
    position = {name: index for index, name in enumerate(TAG_ORDER)}
    tags = sorted(document["tags"], key=lambda tag: position.get(tag["name"], len(TAG_ORDER)))
    groups: dict[str, list[dict[str, Any]]] = {tag["name"]: [] for tag in tags}
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            scope = described["security"][0].get("token", ["no token"])[0]
            example = curl(method.upper(), path, described)
            route = {**described, "path": path, "method": method.upper(), "scope": scope, "example": example}
            for sentence in SCOPE_SENTENCES.values():  # the page shows the scope beside the path
                route["description"] = route["description"].removesuffix(sentence)
            groups[described["tags"][0]].append(route)
    return render_template(
        "docs.html",
        version=__version__,
        document=document,
        tags=tags,
        groups=groups,
        problems=PROBLEMS,
        text_of=schema_text,
        meaning_of=meaning_of,
        prose=prose,
        resolved=partial(resolved, document),
    )


def prose(text: str) -> Markup:
    """Convert text to HTML, with `names` in backquotes as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(" ".join(text.split())))))


def schema_text(schema: Schema) -> Markup:
    """Describe a schema briefly: `integer, from 0 to 100`, `list of RecordEntry`, `one of: a, b`; types are links."""
    return Markup(" or ").join(dict.fromkeys(map(_describe, _alternatives(schema))))


def meaning_of(schema: Schema) -> str:
    """Return the description of a schema or of one of its alternatives; empty if there is none."""
    return next((str(item["description"]) for item in (schema, *_alternatives(schema)) if "description" in item), "")


def _alternatives(schema: Schema) -> Iterator[Schema]:
    for item in schema.get("anyOf", ()):
        yield from _alternatives(item)
    if "anyOf" not in schema:
        kinds = schema.get("type")
        yield from ({**schema, "type": kind} for kind in kinds) if isinstance(kinds, list) else [schema]


def resolved(document: Mapping[str, Any], schema: Schema) -> Schema:
    """Return a schema, or the component of the document that it refers to."""
    name = schema.get("$ref", "").rpartition("/")[2]
    return document["components"]["schemas"][name] if name else schema


def _describe(schema: Schema) -> Markup:
    if "$ref" in schema:
        return Markup('<a href="#shape-{0}">{0}</a>').format(schema["$ref"].rpartition("/")[2])
    if schema.get("type") == "array":
        return Markup("list of ") + schema_text(schema["items"])
    if "enum" in schema:
        return escape(f"one of: {', '.join(map(str, schema['enum']))}")
    if "const" in schema:
        return escape(json.dumps(schema["const"]))
    default = f"default {json.dumps(schema['default'])}" if "default" in schema else ""
    return escape(", ".join(filter(None, [str(schema.get("type", "any")), _bounds(schema), default])))


def _bounds(schema: Schema) -> str:
    if schema.get("type") == "null":
        return ""
    lower, above, upper = schema.get("minimum"), schema.get("exclusiveMinimum"), schema.get("maximum")
    parts = [
        f"from {lower}" if lower is not None else "",
        f"above {above}" if above is not None else "",
        f"to {upper}" if upper is not None and upper < LARGEST else "",
    ]
    return " ".join(filter(None, parts))


def curl(method: str, path: str, described: Mapping[str, Any]) -> str:
    """Return a curl command for a route, with placeholders in capitals."""
    url = SERVER + re.sub(r"{(\w+)}", lambda name: name[1].upper(), path)
    arguments = ["curl", "-s", *([] if method == "GET" else ["-X", method]), url]
    for media_type, content in described.get("requestBody", {}).get("content", {}).items():
        if content.get("example"):
            arguments += ["-H", f"Content-Type: {media_type}", "-d", json.dumps(content["example"])]
        break
    return shlex.join(arguments)
