"""The contract itself: the OpenAPI document, a page to read it, and the schemas of all answers."""

import json
import re
import threading
from functools import cached_property
from typing import Any

from flask import Blueprint, Flask, Response, current_app, render_template, request
from markupsafe import Markup, escape

from api.contract import Answer, Scope, operation
from api.openapi import build, encoded
from api.parameters import LARGEST, InPath
from api.problems import PROBLEMS, ProblemError
from api.schemas import answer_shapes, standalone
from service import __version__
from service.record_fields import record_schema as schema_of_records

SCHEMA = "application/schema+json"

ORDER = (
    "controls", "live_settings", "states", "events", "alerts", "records", "comparison", "series", "previews",
    "checkpoints", "ranks", "logs", "runs", "metrics", "health", "documents", "page",
)  # fmt: skip
"""The groups of routes as a reader wants them: steering, watching, history, the rest."""

NAME = InPath("name", "an answer's name, as `/openapi.json` has it", {"type": "string", "enum": list(answer_shapes())})

blueprint = Blueprint("documents", __name__)


class Documents:
    """The document of one application, made when it is first asked for."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._lock = threading.Lock()

    @cached_property
    def _document(self) -> dict[str, Any]:
        return build(self._app)

    def document(self) -> dict[str, Any]:
        """The document as plain values; not to be changed."""
        with self._lock:
            return self._document


def register(app: Flask) -> None:
    """Give `app` its document."""
    app.extensions["leitstand documents"] = Documents(app)


@blueprint.get("/openapi.json")
@operation(
    Scope.OPEN,
    answers=[
        Answer(
            schema={"type": "object", "required": ["openapi", "paths"]},
            description="the document",
            headers={"ETag": "its hash"},
        ),
        Answer(media_type="", description="it has not changed", status=304),
    ],
)
def openapi() -> Response:
    """Show this document: OpenAPI 3.1."""
    return _kept(Response(encoded(_document()), mimetype="application/json"))


@blueprint.get("/docs")
@operation(Scope.OPEN, answers=[Answer(media_type="text/html", description="the page")])
def docs() -> str:
    """Show all routes as a page to read; it needs neither scripts nor any other server."""
    document = _document()
    tags = sorted(document["tags"], key=lambda tag: ORDER.index(tag["name"]) if tag["name"] in ORDER else len(ORDER))
    groups: dict[str, list[dict[str, Any]]] = {tag["name"]: [] for tag in tags}
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            scope = described["security"][0].get("token", ["no token"])[0]
            groups[described["tags"][0]].append({"path": path, "method": method.upper(), "scope": scope, **described})
    return render_template(
        "docs.html",
        version=__version__,
        document=document,
        tags=tags,
        groups=groups,
        problems=PROBLEMS,
        text_of=schema_text,
        prose=prose,
    )


@blueprint.get("/schema/statistik.json")
@operation(Scope.OPEN, answers=[Answer(media_type=SCHEMA, description="the schema")])
def record_schema() -> Response:
    """Show the JSON Schema of `Statistik_<step>.json`."""
    return _schema(schema_of_records())


@blueprint.get("/schema/<name>.json")
@operation(Scope.OPEN, NAME, answers=[Answer(media_type=SCHEMA, description="the schema")], problems=["not-found"])
def answer_schema(name: str) -> Response:
    """Show the JSON Schema of one answer by the name that `/openapi.json` gives it, such as `RecordList`."""
    found = standalone(name)
    if found is None:
        raise ProblemError("not-found", f"There is no schema {name!r}; /openapi.json lists all in components.schemas.")
    return _schema(found)


def prose(text: str) -> Markup:
    """Text with its `names` set as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(" ".join(text.split())))))


def schema_text(schema: dict[str, Any]) -> str:
    """A schema in a few words: `integer, 0 to 100`, `RecordList`, `one of: a, b`."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "enum" in schema:
        return f"one of: {', '.join(map(str, schema['enum']))}"
    if "anyOf" in schema:
        return " or ".join(schema_text(item) for item in schema["anyOf"])
    lower, upper = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
    bounds = [
        f"from {lower}" if lower is not None else "",
        f"to {upper}" if upper is not None and upper < LARGEST else "",
    ]
    default = f"default {json.dumps(schema['default'])}" if "default" in schema else ""
    return ", ".join(filter(None, [str(schema.get("type", "bytes")), " ".join(filter(None, bounds)), default]))


def _document() -> dict[str, Any]:
    documents = current_app.extensions["leitstand documents"]
    assert isinstance(documents, Documents)
    return documents.document()


def _schema(schema: dict[str, Any]) -> Response:
    return Response(json.dumps(schema, indent=2) + "\n", mimetype=SCHEMA)


def _kept(response: Response) -> Response:
    """May be kept, but is to be asked for before it is used: an update of the server changes it."""
    response.add_etag()
    response.headers["Cache-Control"] = "no-cache"
    response.make_conditional(request)
    return response
