"""The OpenAPI 3.1 document, made from the routes and what is declared beside them.

Every route of a run is described once; the second of the document's servers says that all of them are there below
`/runs/{run}` too. `python -m api.server.write_openapi` brings `docs/openapi.json` up to date.
"""

import inspect
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flask import Flask
from werkzeug.routing import Rule

from api.http.auth import LIVENESS_ENDPOINT
from api.http.operation import Answer, Body, Operation, Scope, operation_of
from api.http.parameters import Parameter
from api.http.problems import PROBLEMS
from api.openapi.schemas import all_schemas, shape_schemas
from api.runs.context import PREFIX
from service import __version__

PROBLEM = {"$ref": "#/components/schemas/Problem"}
REFUSAL_REFERENCE = "#/components/responses/"
ANYWHERE = (
    "bad-request", "request-timeout", "body-too-large", "uri-too-long", "invalid-argument", "head-too-large",
    "internal-error",
)  # fmt: skip
"""Refusals that every route can give."""
GUARDED = ("foreign-origin", "wrong-host", "too-many-requests")
"""Refusals of every route but the sign of life."""
WITH_TOKEN = ("unauthorized", "tokens-unavailable")
WITH_CONTROL = ("insufficient-scope",)
WITH_BODY = ("not-json", "unsupported-media-type")
OF_A_RUN = ("not-found", "storage-unavailable")
REFUSAL_HEADERS = {
    401: {"WWW-Authenticate": "how to show a token (RFC 6750)"},
    416: {"Content-Range": "of how many bytes there is no such range"},
    429: {"Retry-After": "seconds until it is worth another try"},
    503: {"Retry-After": "seconds until it is worth another try"},
}
"""By status: the headers that a refusal always has."""

DESCRIPTION = """\
Watch and steer a running training of a video super-resolution network. A command is queued and answered with 202; what
comes of it is at its `Location`. Times are Unix seconds. Every refusal is `application/problem+json` (RFC 9457) with a
stable `type`. Routes of a run speak of the default run, or below `/runs/{run}` of any."""


def build(app: Flask) -> dict[str, Any]:
    """The document for the routes of `app`, the same for the same code."""
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for rule, operation in _described(app):
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            paths[_path(rule)][method.lower()] = _operation(app, rule, operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Leitstand", "version": __version__, "description": DESCRIPTION},
        "servers": [
            {"url": "/", "description": "the default run"},
            {
                "url": "/runs/{run}",
                "description": "any run, by its id",
                "variables": {"run": {"default": "5f0c1e77ab42", "description": "a run's id, as /runs lists them"}},
            },
        ],
        "tags": _tags(app),
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": all_schemas(),
            "responses": _refusals_named_in(paths),
            "securitySchemes": _security_schemes(),
        },
    }


def encoded(document: Mapping[str, Any]) -> str:
    """The document as text, as it is committed and served."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _described(app: Flask) -> Iterator[tuple[Rule, Operation]]:
    for rule in app.url_map.iter_rules():
        operation = operation_of(app, rule.endpoint)
        if operation is not None and not rule.endpoint.startswith(PREFIX):
            yield rule, operation


def _path(rule: Rule) -> str:
    return re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule)


def is_of_a_run(app: Flask, endpoint: str) -> bool:
    """Whether the route is there below `/runs/<run>` too."""
    return PREFIX + endpoint in app.view_functions


def _operation(app: Flask, rule: Rule, operation: Operation) -> dict[str, Any]:
    summary, _, description = (inspect.getdoc(app.view_functions[rule.endpoint]) or "").partition("\n\n")
    of_a_run = is_of_a_run(app, rule.endpoint)
    described = {
        "operationId": rule.endpoint.replace(".", "_"),
        "tags": [rule.endpoint.partition(".")[0]],
        "summary": " ".join(summary.split()),
        "description": " ".join(description.split()),
        "servers": None if of_a_run else [{"url": "/"}],
        "security": [{}] if operation.scope is Scope.OPEN else [{"token": [operation.scope.value]}, {}],
        "parameters": [_parameter(parameter) for parameter in operation.parameters],
        "requestBody": None if operation.body is None else _body(operation.body),
        "responses": _responses(operation, _refusals(rule.endpoint, operation, of_a_run=of_a_run)),
    }
    return {key: value for key, value in described.items() if value not in (None, "", [])}


def _parameter(parameter: Parameter[Any]) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.location,
        "required": parameter.location == "path",
        "description": parameter.meaning,
        "schema": dict(parameter.schema),
    }


def _body(body: Body) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": dict(body.schema)}
    if body.example is not None:
        content["example"] = body.example
    return {"required": body.is_required, "content": dict.fromkeys(body.media_types, content)}


def _refusals(endpoint: str, operation: Operation, *, of_a_run: bool) -> list[str]:
    """The slugs of all problems that the route can answer."""
    slugs = [*operation.problems, *ANYWHERE]
    slugs += GUARDED if endpoint != LIVENESS_ENDPOINT else ()
    slugs += WITH_TOKEN if operation.scope is not Scope.OPEN else ()
    slugs += WITH_CONTROL if operation.scope is Scope.CONTROL else ()
    slugs += WITH_BODY if operation.body is not None else ()
    slugs += OF_A_RUN if of_a_run else ()
    return list(dict.fromkeys(slugs))


def _responses(operation: Operation, refusals: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for answer in operation.answers:
        described = found.setdefault(str(answer.status), {"description": answer.description})
        if answer.headers or answer.optional_headers:
            described.setdefault("headers", {}).update(_headers(answer.headers, answer.optional_headers))
        if answer.media_type:
            described.setdefault("content", {})[answer.media_type] = _content(answer)
    for status, slugs in _by_status(refusals).items():
        found[str(status)] = {"$ref": REFUSAL_REFERENCE + ".".join(sorted(slugs))}
    return dict(sorted(found.items()))


def _headers(always: Mapping[str, str], at_times: Mapping[str, str]) -> dict[str, Any]:
    return {
        name: {"description": meaning, "required": name in always, "schema": {"type": "string"}}
        for name, meaning in {**always, **at_times}.items()
    }


def _content(answer: Answer) -> dict[str, Any]:
    if answer.schema is not None:
        return {"schema": dict(answer.schema)}
    if answer.shape is not None:
        return {"schema": dict(shape_schemas([answer.shape])[0][repr(answer.shape)])}
    return {"schema": {"type": "string"}} if answer.media_type.startswith("text/") else {"schema": {}}


def _by_status(slugs: Sequence[str]) -> dict[int, list[str]]:
    grouped: dict[int, list[str]] = defaultdict(list)
    for slug in slugs:
        grouped[PROBLEMS[slug].status].append(slug)
    return grouped


def _refusals_named_in(paths: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the references of the routes lead to: {the slugs with dots between: the refusal}."""
    operations = [operation for methods in paths.values() for operation in methods.values()]
    references = {response.get("$ref", "") for operation in operations for response in operation["responses"].values()}
    names = sorted(reference.removeprefix(REFUSAL_REFERENCE) for reference in references if reference)
    return {name: _refusal(name.split(".")) for name in names}


def _refusal(slugs: Sequence[str]) -> dict[str, Any]:
    """One of these problems, all of the same status."""
    lines, status = [f"`/problems/{slug}`: {PROBLEMS[slug].title}." for slug in slugs], PROBLEMS[slugs[0]].status
    described = {"description": "  \n".join(lines), "content": {"application/problem+json": {"schema": PROBLEM}}}
    if status in REFUSAL_HEADERS:
        described["headers"] = _headers(REFUSAL_HEADERS[status], {})
    return described


def _tags(app: Flask) -> list[dict[str, str]]:
    """The groups of routes, described by the head of their modules."""
    modules = {rule.endpoint.partition(".")[0]: app.view_functions[rule.endpoint] for rule, _ in _described(app)}
    return [{"name": name, "description": _head(view)} for name, view in sorted(modules.items())]


def _head(view: object) -> str:
    module = inspect.getmodule(view)
    return " ".join((inspect.getdoc(module) or "").partition("\n\n")[0].split())


def _security_schemes() -> dict[str, Any]:
    return {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "API_TOKEN, or a token made by `leitstand token create`. Its scope is what a route needs: "
            "`read` may watch, `control` may steer too. Where the server has no token, none is needed, and only its "
            "own machine is served.",
        }
    }
