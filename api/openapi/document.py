"""The OpenAPI 3.1 document, generated from the routes and their operations.

Every route of a run is described once; the document's second server declares that all of them also exist below
`/runs/{run}`. `python -m api.server.write_openapi` updates `docs/openapi.json`.
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
from api.http.problem_types import PROBLEMS
from api.openapi.schemas import all_schemas, shape_schemas
from api.runs.context import PREFIX
from service import __version__

PROBLEM = {"$ref": "#/components/schemas/Problem"}
RESPONSE_REFERENCE = "#/components/responses/"
COMMON_PROBLEMS = (
    "bad-request", "request-timeout", "body-too-large", "uri-too-long", "invalid-argument", "head-too-large",
    "internal-error",
)  # fmt: skip
"""Problems that every route can answer."""
GUARD_PROBLEMS = ("foreign-origin", "wrong-host", "too-many-requests")
"""Problems of every route except the liveness probe."""
TOKEN_PROBLEMS = ("unauthorized", "tokens-unavailable")
CONTROL_PROBLEMS = ("insufficient-scope",)
BODY_PROBLEMS = ("not-json", "unsupported-media-type")
RUN_PROBLEMS = ("not-found", "storage-unavailable")
RATE_LIMIT_FIELDS = {
    "RateLimit-Policy": "which limit applies: `q` requests in `w` seconds (draft-ietf-httpapi-ratelimit-headers-11)",
    "RateLimit": "what is left of it: `r` requests, and one more within `t` seconds",
}
"""Header fields of every response that was counted."""
PROBLEM_HEADERS = {
    401: {"WWW-Authenticate": "how to show a token (RFC 6750)"},
    416: {"Content-Range": "of how many bytes there is no such range"},
    429: {"Retry-After": "seconds until it is worth another try", **RATE_LIMIT_FIELDS},
    503: {"Retry-After": "seconds until it is worth another try"},
}
"""Headers that a problem response always has, by status."""

SCOPE_SENTENCES = {
    Scope.OPEN: "Needs no token.",
    Scope.READ: "Needs a token of any scope, where the server has tokens.",
    Scope.CONTROL: "Needs a token of scope `control`, where the server has tokens.",
}
DESCRIPTION = """\
Watch and steer a running training of a video super-resolution network. A command is queued and answered with 202; what
comes of it is at its `Location`. Times are Unix seconds. Every refusal is `application/problem+json` (RFC 9457) with a
stable `type`. Routes of a run speak of the default run, or below `/runs/{run}` of any."""


def build(app: Flask, prefix: str = "") -> dict[str, Any]:
    """Build the document for the routes of `app`, served below the path `prefix`; deterministic."""
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for rule, operation in _operations(app):
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            paths[_path(rule)][method.lower()] = _operation(app, rule, operation, prefix)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Leitstand",
            "version": __version__,
            "description": DESCRIPTION,
            "contact": {"name": "whoever runs this server"},
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [
            {"url": f"{prefix}/", "description": "the default run"},
            {
                "url": f"{prefix}/runs/{{run}}",
                "description": "any run, by its id",
                "variables": {"run": {"default": "5f0c1e77ab42", "description": "a run's id, as /runs lists them"}},
            },
        ],
        "tags": _tags(app),
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": all_schemas(),
            "responses": _problem_responses(paths),
            "headers": _headers({}, RATE_LIMIT_FIELDS),
            "securitySchemes": _security_schemes(),
        },
    }


def encoded(document: Mapping[str, Any]) -> str:
    """Encode the document as it is committed and served."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _operations(app: Flask) -> Iterator[tuple[Rule, Operation]]:
    for rule in app.url_map.iter_rules():
        operation = operation_of(app, rule.endpoint)
        if operation is not None and not rule.endpoint.startswith(PREFIX):
            yield rule, operation


def _path(rule: Rule) -> str:
    return re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule)


def has_run_route(app: Flask, endpoint: str) -> bool:
    """Whether the route also exists below `/runs/<run>`."""
    return PREFIX + endpoint in app.view_functions


def _operation(app: Flask, rule: Rule, operation: Operation, prefix: str) -> dict[str, Any]:
    summary, _, description = (inspect.getdoc(app.view_functions[rule.endpoint]) or "").partition("\n\n")
    is_run_route = has_run_route(app, rule.endpoint)
    described = {
        "operationId": rule.endpoint.replace(".", "_"),
        "tags": [rule.endpoint.partition(".")[0]],
        "summary": " ".join(summary.split()),
        "description": " ".join([*description.split(), SCOPE_SENTENCES[operation.scope]]),
        "servers": None if is_run_route else [{"url": f"{prefix}/"}],
        "security": [{}] if operation.scope is Scope.OPEN else [{"token": [operation.scope.value]}, {}],
        "parameters": [_parameter(parameter) for parameter in operation.parameters],
        "requestBody": None if operation.body is None else _body(operation.body),
        "responses": _responses(
            operation,
            _problem_slugs(rule.endpoint, operation, is_run_route=is_run_route),
            is_counted=rule.endpoint != LIVENESS_ENDPOINT,
        ),
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


def _problem_slugs(endpoint: str, operation: Operation, *, is_run_route: bool) -> list[str]:
    """Return the slugs of all problems that the route can answer."""
    slugs = [*operation.problems, *COMMON_PROBLEMS]
    slugs += GUARD_PROBLEMS if endpoint != LIVENESS_ENDPOINT else ()
    slugs += TOKEN_PROBLEMS if operation.scope is not Scope.OPEN else ()
    slugs += CONTROL_PROBLEMS if operation.scope is Scope.CONTROL else ()
    slugs += BODY_PROBLEMS if operation.body is not None else ()
    slugs += RUN_PROBLEMS if is_run_route else ()
    return list(dict.fromkeys(slugs))


_RATE_LIMIT_REFERENCES = {name: {"$ref": f"#/components/headers/{name}"} for name in RATE_LIMIT_FIELDS}


def _responses(operation: Operation, problems: Sequence[str], *, is_counted: bool) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for answer in operation.answers:
        described = responses.setdefault(str(answer.status), {"description": answer.description})
        if answer.headers or answer.optional_headers:
            described.setdefault("headers", {}).update(_headers(answer.headers, answer.optional_headers))
        if is_counted:
            described.setdefault("headers", {}).update(_RATE_LIMIT_REFERENCES)
        if answer.media_type:
            described.setdefault("content", {})[answer.media_type] = _content(answer)
    for status, slugs in _by_status(problems).items():
        responses[str(status)] = {"$ref": RESPONSE_REFERENCE + ".".join(sorted(slugs))}
    return dict(sorted(responses.items()))


def _headers(required: Mapping[str, str], optional: Mapping[str, str]) -> dict[str, Any]:
    return {
        name: {"description": meaning, "required": name in required, "schema": {"type": "string"}}
        for name, meaning in {**required, **optional}.items()
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


def _problem_responses(paths: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the responses that the routes refer to: {slugs joined by dots: response}."""
    operations = [operation for methods in paths.values() for operation in methods.values()]
    references = {response.get("$ref", "") for operation in operations for response in operation["responses"].values()}
    names = sorted(reference.removeprefix(RESPONSE_REFERENCE) for reference in references if reference)
    return {name: _problem_response(name.split(".")) for name in names}


def _problem_response(slugs: Sequence[str]) -> dict[str, Any]:
    """Return the response for one of these problems, which all have the same status."""
    lines, status = [f"`/problems/{slug}`: {PROBLEMS[slug].title}." for slug in slugs], PROBLEMS[slugs[0]].status
    described = {"description": "  \n".join(lines), "content": {"application/problem+json": {"schema": PROBLEM}}}
    if status in PROBLEM_HEADERS:
        described["headers"] = _headers(PROBLEM_HEADERS[status], {})
    return described


def _tags(app: Flask) -> list[dict[str, str]]:
    """Return the groups of routes, described by the first paragraph of their modules' docstrings."""
    modules = {rule.endpoint.partition(".")[0]: app.view_functions[rule.endpoint] for rule, _ in _operations(app)}
    return [{"name": name, "description": _module_summary(view)} for name, view in sorted(modules.items())]


def _module_summary(view: object) -> str:
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
