"""Error responses: every error is answered as `application/problem+json` (RFC 9457) with a stable type.

A response never contains a traceback or an exception's class.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from api.http.problem_types import PROBLEMS
from api.http.proxies import external_path
from service.commands import CommandState, Kind, command_route, outcome_sentence
from service.errors import CommandError, FieldError, Problem, joined_sentences
from service.store.database import StoreReadOnlyError, StoreUnavailableError

RETRY_SECONDS = 2
COMMAND_ROUTES = tuple(command_route(kind)[1] for kind in Kind if kind is not Kind.SET)
"""Routes that accept a command by POST; settings are changed by PATCH."""

logger = logging.getLogger(__name__)

_SLUGS = {
    400: "bad-request",
    404: "not-found",
    405: "method-not-allowed",
    413: "body-too-large",
    415: "unsupported-media-type",
    416: "range-not-satisfiable",
    500: "internal-error",
}

_COMMAND_SLUGS: dict[str, str] = {
    CommandState.FAILED: "command-failed",
    CommandState.REJECTED: "command-rejected",
    CommandState.EXPIRED: "command-expired",
}
"""Type of problem of a command in this final state."""


class ProblemError(Exception):
    """Error answered as a problem of the type `slug`; `detail` is one sentence for the user.

    `errors` names the wrong members of the body, parameters and headers, if the problem is about them.
    """

    def __init__(
        self,
        slug: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[FieldError] = (),
    ) -> None:
        super().__init__(detail)
        self.slug = slug
        self.detail = detail
        self.headers = dict(headers or {})
        self.errors = list(errors)


def all_invalid(errors: Sequence[FieldError]) -> ProblemError:
    """Return the error (invalid-argument) for all wrong parameters and headers of a request together."""
    return ProblemError("invalid-argument", joined_sentences(error["detail"] for error in errors), errors=errors)


def register(app: Flask) -> None:
    """Make `app` answer every error as problem+json."""
    app.register_error_handler(ProblemError, _answer_problem)
    app.register_error_handler(CommandError, _answer_command_error)
    app.register_error_handler(StoreUnavailableError, _answer_unavailable)
    app.register_error_handler(HTTPException, _answer_http_error)


def problem_of(slug: str, detail: str) -> Problem:
    """Return a problem of type `slug` as an object, without the request that met it."""
    problem_type = PROBLEMS[slug]
    return {
        "type": f"/problems/{slug}",
        "title": problem_type.title,
        "status": problem_type.status,
        "detail": detail,
    }


def problem_of_command(command: Mapping[str, Any]) -> Problem | None:
    """Return why a command (as `Command.as_dict` gives it) has not done what was asked; None unless it has ended so."""
    slug = _COMMAND_SLUGS.get(command["state"])
    if slug is None:
        return None
    kind, state, step, reason = (command[key] for key in ("kind", "state", "step", "reason"))
    return problem_of(slug, outcome_sentence(kind, state, step, None, reason))


def problem_response(
    slug: str, detail: str, headers: Mapping[str, str] | None = None, errors: Sequence[FieldError] = ()
) -> Response:
    """Build the response for a problem of type `slug`; a 503 has a Retry-After header in seconds."""
    body = problem_of(slug, detail)
    body["instance"] = external_path(quote(request.path))
    if errors:
        body["errors"] = list(errors)
    response = Response(json.dumps(body) + "\n", body["status"], mimetype="application/problem+json")
    response.headers["Cache-Control"] = "no-store"
    if body["status"] == 503:
        response.headers["Retry-After"] = str(RETRY_SECONDS)
    response.headers.update(headers or {})
    return response


def _answer_problem(error: ProblemError) -> Response:
    return problem_response(error.slug, error.detail, error.headers, error.errors)


def _answer_command_error(error: CommandError) -> Response:
    errors: list[FieldError] = [{"pointer": _pointer(name), "detail": text} for name, text in error.members.items()]
    return problem_response("invalid-argument", str(error), errors=errors)


def _pointer(member: str) -> str:
    """Return the JSON Pointer (RFC 6901) of a member of the body, as the fragment of a URI."""
    return "#/" + quote(member.replace("~", "~0").replace("/", "~1"), safe="")


def _answer_unavailable(error: StoreUnavailableError) -> Response:
    logger.warning("%s %s: %s", request.method, quote(request.path), error)
    if isinstance(error, StoreReadOnlyError):
        return problem_response("read-only-store", f"Nothing was changed, since this server may only read it: {error}.")
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
