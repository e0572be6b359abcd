"""The contract itself: the OpenAPI document, a page to read it, and the schemas of all answers."""

import json
import threading
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from flask import Blueprint, Flask, Response, current_app, request

from api.http.operation import Answer, Scope, operation
from api.http.parameters import PathParameter
from api.http.problems import ProblemError
from api.http.proxies import external_path
from api.http.static_files import PAGE_UNCHANGED, page, revalidated
from api.openapi import html
from api.openapi.document import build, encoded
from api.openapi.schemas import schema_names, standalone
from service.run.record_schema import record_schema as schema_of_records

SCHEMA = "application/schema+json"
MAX_PREFIXES = 4
"""How many proxies' prefixes the document is kept for."""

NAME = PathParameter("name", "a schema's name, as `/openapi.json` has it", {"type": "string", "enum": schema_names()})

blueprint = Blueprint("documents", __name__)


@dataclass(frozen=True)
class RenderedDocument:
    """The OpenAPI document as served: JSON text and HTML page."""

    text: str
    page: str


class Documents:
    """OpenAPI document of one application, built on first use below each prefix of a proxy."""

    def __init__(self, app: Flask) -> None:
        self._lock = threading.Lock()
        self._render = lru_cache(MAX_PREFIXES)(partial(_render, app))

    def rendered(self, prefix: str) -> RenderedDocument:
        """Return the document, built once per process: the route needs no token, so a request must be cheap."""
        with self._lock:
            return self._render(prefix)


def _render(app: Flask, prefix: str) -> RenderedDocument:
    document = build(app, prefix)
    return RenderedDocument(encoded(document), html.page(document))


def register(app: Flask) -> None:
    """Give `app` its OpenAPI document."""
    app.extensions["leitstand documents"] = Documents(app)


@blueprint.get("/openapi.json")
@operation(
    Scope.OPEN,
    answers=[
        Answer(
            schema={
                "type": "object",
                "properties": {"openapi": {"type": "string"}, "paths": {"type": "object"}},
                "required": ["openapi", "paths"],
            },
            description="the document",
            headers={"ETag": "its hash"},
        ),
        Answer(media_type="", description="it has not changed", status=304),
    ],
)
def openapi() -> Response:
    """Show this document: OpenAPI 3.1."""
    return revalidated(Response(_rendered().text, mimetype="application/json"))


@blueprint.get("/docs")
@operation(Scope.OPEN, answers=[Answer(media_type="text/html", description="the page"), PAGE_UNCHANGED])
def docs() -> Response:
    """Show all routes as a page to read; it needs neither scripts nor any other server."""
    return page(_rendered().page)


@blueprint.get("/schema/statistik.json")
@operation(Scope.OPEN, answers=[Answer(media_type=SCHEMA, description="the schema")])
def record_schema() -> Response:
    """Show the JSON Schema of `Statistik_<step>.json`."""
    return _schema(schema_of_records())


@blueprint.get("/schema/<name>.json")
@operation(Scope.OPEN, NAME, answers=[Answer(media_type=SCHEMA, description="the schema")], problems=["not-found"])
def answer_schema(name: str) -> Response:
    """Show the JSON Schema of one answer or body by the name that `/openapi.json` gives it, such as `RecordList`."""
    schema = standalone(name)
    if schema is None:
        raise ProblemError("not-found", f"There is no schema {name!r}; /openapi.json lists all in components.schemas.")
    return _schema(schema)


def _rendered() -> RenderedDocument:
    documents = current_app.extensions["leitstand documents"]
    assert isinstance(documents, Documents)
    return documents.rendered(request.script_root)


def _schema(schema: dict[str, Any]) -> Response:
    located = {**schema, "$id": external_path(schema["$id"])}
    return Response(json.dumps(located, indent=2) + "\n", mimetype=SCHEMA)
