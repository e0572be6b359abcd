"""Error responses: every error is answered as `application/problem+json` (RFC 9457) with a stable type.

`PROBLEMS` lists all types; docs/api.md explains each. A response never contains a traceback or an exception's class.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from service.commands import Kind
from service.errors import CommandError
from service.store.database import StoreUnavailableError

RETRY_SECONDS = 2
COMMAND_ROUTES = tuple(f"/{kind}" for kind in Kind if kind is not Kind.SET)
"""Routes that accept a command by POST; settings are changed by PATCH."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProblemType:
    """HTTP status and title of one type of problem."""

    status: int
    title: str


PROBLEMS: dict[str, ProblemType] = {
    "bad-request": ProblemType(400, "The request cannot be understood"),
    "not-json": ProblemType(400, "The body is not JSON"),
    "unauthorized": ProblemType(401, "A token is needed"),
    "insufficient-scope": ProblemType(403, "The token does not allow this"),
    "foreign-origin": ProblemType(403, "Another web page may neither watch nor steer a training"),
    "not-found": ProblemType(404, "There is no such thing here"),
    "method-not-allowed": ProblemType(405, "The route does not take this method"),
    "request-timeout": ProblemType(408, "The request took too long to arrive"),
    "run-ended": ProblemType(409, "The run has ended"),
    "command-begun": ProblemType(409, "The command is not queued any more"),
    "precondition-failed": ProblemType(412, "It has changed meanwhile"),
    "body-too-large": ProblemType(413, "The body is too large"),
    "uri-too-long": ProblemType(414, "The request line is too long"),
    "unsupported-media-type": ProblemType(415, "The body must be JSON"),
    "range-not-satisfiable": ProblemType(416, "The file has no such range"),
    "wrong-host": ProblemType(421, "The Host header names another server"),
    "invalid-argument": ProblemType(422, "An argument is not allowed"),
    "key-reused": ProblemType(422, "The Idempotency-Key was used for another request"),
    "too-many-requests": ProblemType(429, "Too many requests"),
    "head-too-large": ProblemType(431, "The request's head is too large"),
    "internal-error": ProblemType(500, "The server met a defect"),
    "no-run": ProblemType(503, "There is no run yet"),
    "no-trainer": ProblemType(503, "No trainer is alive"),
    "too-many-streams": ProblemType(503, "All event streams are taken"),
    "tokens-unavailable": ProblemType(503, "The file of tokens cannot be used now"),
    "storage-unavailable": ProblemType(503, "The store or the run directory cannot be used now"),
}

_SLUGS = {
    400: "bad-request",
    404: "not-found",
    405: "method-not-allowed",
    413: "body-too-large",
    415: "unsupported-media-type",
    416: "range-not-satisfiable",
    500: "internal-error",
}


class ProblemError(Exception):
    """Error answered as a problem of the type `slug`; `detail` is one sentence for the user."""

    def __init__(self, slug: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.slug = slug
        self.detail = detail
        self.headers = dict(headers or {})


def register(app: Flask) -> None:
    """Make `app` answer every error as problem+json."""
    app.register_error_handler(ProblemError, _answer_problem)
    app.register_error_handler(CommandError, _answer_command_error)
    app.register_error_handler(StoreUnavailableError, _answer_unavailable)
    app.register_error_handler(HTTPException, _answer_http_error)


def problem_response(slug: str, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """Build the response for a problem of type `slug`; a 503 has a Retry-After header in seconds."""
    problem_type = PROBLEMS[slug]
    body = {
        "type": f"/problems/{slug}",
        "title": problem_type.title,
        "status": problem_type.status,
        "detail": detail,
        "instance": quote(request.path),
    }
    response = Response(json.dumps(body) + "\n", problem_type.status, mimetype="application/problem+json")
    response.headers["Cache-Control"] = "no-store"
    if problem_type.status == 503:
        response.headers["Retry-After"] = str(RETRY_SECONDS)
    response.headers.update(headers or {})
    return response


def _answer_problem(error: ProblemError) -> Response:
    return problem_response(error.slug, error.detail, error.headers)


def _answer_command_error(error: CommandError) -> Response:
    return problem_response("invalid-argument", str(error))


def _answer_unavailable(error: StoreUnavailableError) -> Response:
    logger.warning("%s %s: %s", request.method, quote(request.path), error)
    return problem_response("storage-unavailable", f"The store cannot be used now ({error}); try again.")


def _answer_http_error(error: HTTPException) -> Response:
    """Answer an error that Flask raised itself; keeps its headers (Allow, Content-Range)."""
    status = error.code or 500
    slug = _SLUGS.get(status, "internal-error" if status >= 500 else "bad-request")
    headers = {name: value for name, value in error.get_headers() if name != "Content-Type"}
    return problem_response(slug, _detail_for(error, slug), headers)


def _detail_for(error: HTTPException, slug: str) -> str:
    path = quote(request.path)
    if slug == "not-found" and request.method == "POST":
        return f"There is no command {path}; there are: {', '.join(COMMAND_ROUTES)} and PATCH /settings."
    if slug == "not-found":
        return f"There is no {path}; /docs lists all routes."
    if isinstance(error, MethodNotAllowed):
        return f"{path} does not take {request.method}, but: {', '.join(sorted(error.valid_methods or ()))}."
    if slug == "internal-error":
        return "The server met a defect; its log holds the details."
    return error.description or PROBLEMS[slug].title


def unreadable_run_directory(error: OSError) -> ProblemError:
    """Return the error for a run directory that cannot be read (storage-unavailable)."""
    return ProblemError("storage-unavailable", f"The run directory cannot be read ({error.strerror}); try again.")
