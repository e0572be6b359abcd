"""The operation of a route (OpenAPI's word): its parameters, answers and problems, declared beside its view.

    @blueprint.get("/commands")
    @operation(read, LIMIT, answers=[Answer(CommandList)], problems=["no-run", "storage-unavailable"])
    def list_newest() -> CommandList:
        "The run's commands, newest first."
        ... LIMIT.value() ...

The declaration is checked before the view runs and published in the OpenAPI document; the view's docstring is the
published summary. A parameter that is undeclared, repeated or out of range is rejected with 422: a misspelt condition
must never be ignored silently.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from flask import Flask, request

from api.http.parameters import Parameter
from api.http.problems import ProblemError, all_invalid
from service.errors import FieldError

View = TypeVar("View", bound=Callable[..., Any])


class Scope(StrEnum):
    """Scope that a route requires of a token."""

    OPEN = "open"
    """No token is required: the response contains nothing about a run."""
    READ = "read"
    CONTROL = "control"


@dataclass(frozen=True)
class Answer:
    """One successful response: the shape of its JSON (a `TypedDict` or any type), or a media type without a shape."""

    shape: Any = None
    description: str = "the answer"
    status: int = 200
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    """Name and meaning of relevant headers that the response always has."""
    optional_headers: Mapping[str, str] = field(default_factory=dict)
    """Name and meaning of relevant headers that the response may have."""
    schema: Mapping[str, Any] | None = None
    """A JSON Schema instead of a shape; for an event stream, the schema of one event."""


@dataclass(frozen=True)
class Body:
    """JSON body of a request; unless `is_required`, an absent body means an empty object."""

    schema: Mapping[str, Any]
    is_required: bool = False
    example: Any = None
    media_types: tuple[str, ...] = ("application/json",)


@dataclass(frozen=True)
class Operation:
    """Declaration of one route and method: required scope, parameters, answers, problems and body."""

    scope: Scope
    parameters: tuple[Parameter[Any], ...] = ()
    answers: tuple[Answer, ...] = ()
    problems: tuple[str, ...] = ()
    body: Body | None = None
    has_open_page: bool = False
    """Whether a browser that follows a link gets a page, without a token: it holds nothing, and asks by itself."""

    def parameter_names(self, location: str) -> list[str]:
        """Return the names of the parameters declared in `location`: `query`, `header` or `path`."""
        return [parameter.name for parameter in self.parameters if parameter.location == location]


def operation(
    scope: Scope,
    *parameters: Parameter[Any],
    answers: Sequence[Answer] = (),
    problems: Sequence[str] = (),
    body: Body | None = None,
    has_open_page: bool = False,
) -> Callable[[View], View]:
    """Declare the operation of a view. `problems` are slugs of `api.http.problem_types.PROBLEMS`."""
    declared = Operation(scope, parameters, tuple(answers), tuple(problems), body, has_open_page)

    def declare(view: View) -> View:
        view.__operation__ = declared  # type: ignore[attr-defined]
        return view

    return declare


def wants_page() -> bool:
    """Whether the current request's client would rather have a page than JSON, as a browser that follows a link."""
    return request.accept_mimetypes.best_match(("application/json", "text/html"), "application/json") == "text/html"


def operation_of(app: Flask, endpoint: str | None) -> Operation | None:
    """Return the operation of an endpoint; None for static files and unknown endpoints."""
    view = app.view_functions.get(endpoint or "")
    declared = getattr(view, "__operation__", None)
    return declared if isinstance(declared, Operation) else None


def check_parameters(operation: Operation) -> None:
    """Check the parameters of the current request.

    Raises `ProblemError` (invalid-argument) that names all that are undeclared, repeated or have an invalid value.
    """
    errors = list(_misnamed(operation.parameter_names("query")))
    repeated = {error["parameter"] for error in errors}
    for parameter in operation.parameters:
        if parameter.location != "path" and parameter.name not in repeated:
            errors += _errors_of(parameter)
    if errors:
        raise all_invalid(errors)


def _misnamed(declared: Sequence[str]) -> Iterator[FieldError]:
    """Yield an error for each query parameter that is not declared, or is repeated."""
    for name in request.args:
        if name not in declared:
            yield {"parameter": name, "detail": f"{request.path} takes no {name!r}; {_advice(name, declared)}"}
        elif len(request.args.getlist(name)) > 1:
            yield {"parameter": name, "detail": f"{name} is given twice; give it once."}


def _errors_of(parameter: Parameter[Any]) -> list[FieldError]:
    """Return what is wrong with a parameter of the current request; empty if nothing is."""
    try:
        parameter.value()
    except ProblemError as error:
        return error.errors
    return []


def _advice(name: str, declared: Sequence[str]) -> str:
    if not declared:
        return "it takes no parameters."
    similar = difflib.get_close_matches(name, declared, n=1, cutoff=0.6)
    return f"did you mean {similar[0]}?" if similar else f"it takes: {', '.join(declared)}."
