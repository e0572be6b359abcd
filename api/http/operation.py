"""What a route takes and answers, declared beside its function; checked before it runs and published.

    @blueprint.get("/commands")
    @operation(read, LIMIT, answers=[Answer(CommandList)], problems=["no-run", "storage-unavailable"])
    def list_newest() -> CommandList:
        "The run's commands, newest first."
        ... LIMIT.value() ...

The function's docstring is the published summary. A request with a parameter that is not declared, given twice or out
of its range is refused with 422, so that a misspelt condition never has an effect that nobody meant.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from flask import Flask, request

from api.http.parameters import Parameter
from api.http.problems import ProblemError

View = TypeVar("View", bound=Callable[..., Any])


class Scope(StrEnum):
    """What a token must allow for a route."""

    OPEN = "open"
    """Asked without a token: nothing of a run is in it."""
    READ = "read"
    CONTROL = "control"


@dataclass(frozen=True)
class Answer:
    """One successful answer: the shape of its JSON (a `TypedDict` or any type), or a media type without a shape."""

    shape: Any = None
    description: str = "the answer"
    status: int = 200
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    """Name and meaning of the headers that matter to a client; the answer always has them."""
    optional_headers: Mapping[str, str] = field(default_factory=dict)
    """The same of those that it has at times."""
    schema: Mapping[str, Any] | None = None
    """A JSON Schema instead of a shape; of an event stream, that of an event."""


@dataclass(frozen=True)
class Body:
    """A JSON body; without `is_required`, no body means an empty object."""

    schema: Mapping[str, Any]
    is_required: bool = False
    example: Any = None
    media_types: tuple[str, ...] = ("application/json",)


@dataclass(frozen=True)
class Operation:
    """The contract of one route and method."""

    scope: Scope
    parameters: tuple[Parameter[Any], ...] = ()
    answers: tuple[Answer, ...] = ()
    problems: tuple[str, ...] = ()
    body: Body | None = None

    def names(self, place: str) -> list[str]:
        """The declared parameters `in` this place: `query`, `header` or `path`."""
        return [parameter.name for parameter in self.parameters if parameter.place == place]


def operation(
    scope: Scope,
    *parameters: Parameter[Any],
    answers: Sequence[Answer] = (),
    problems: Sequence[str] = (),
    body: Body | None = None,
) -> Callable[[View], View]:
    """Declare what a view takes and answers. `problems` are slugs of `api.http.problems.PROBLEMS`."""

    def declared(view: View) -> View:
        view.__operation__ = Operation(scope, parameters, tuple(answers), tuple(problems), body)  # type: ignore[attr-defined]
        return view

    return declared


def operation_of(app: Flask, endpoint: str | None) -> Operation | None:
    """The contract of an endpoint; None for static files and for what does not exist."""
    view = app.view_functions.get(endpoint or "")
    found = getattr(view, "__operation__", None)
    return found if isinstance(found, Operation) else None


def check_parameters(wanted: Operation) -> None:
    """Refuse the present request when a parameter is unknown, given twice, or not allowed; raises `ProblemError`."""
    known = wanted.names("query")
    for name in request.args:
        if name not in known:
            raise ProblemError("invalid-argument", f"{request.path} takes no {name!r}; {_advice(name, known)}")
        if len(request.args.getlist(name)) > 1:
            raise ProblemError("invalid-argument", f"{name} is given twice; give it once.")
    for parameter in wanted.parameters:
        if parameter.place != "path":
            parameter.value()


def _advice(name: str, known: Sequence[str]) -> str:
    if not known:
        return "it takes no parameters."
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else f"it takes: {', '.join(known)}."
