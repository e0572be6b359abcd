"""The parts of gunicorn that are not public and that `api/server/worker.py` builds on; all that are missing are named.

gunicorn may change them in any release. A worker whose overridden methods are no longer called would still answer, but
slow clients could block it, and nobody would notice.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gunicorn  # type: ignore[import-untyped]
from gunicorn.http.unreader import Unreader  # type: ignore[import-untyped]
from gunicorn.workers.gthread import TConn, ThreadWorker  # type: ignore[import-untyped]

from service.errors import UserError


class Method(NamedTuple):
    """A method with the names of its parameters, and who calls it, if that must be gunicorn itself."""

    owner: type
    name: str
    parameters: tuple[str, ...]
    called_by: str = ""


METHODS = (
    Method(TConn, "__init__", ("cfg", "sock", "client", "server")),
    Method(TConn, "init", ()),
    Method(TConn, "close", ("graceful",), called_by="finish_request"),
    Method(ThreadWorker, "accept", ("listener",), called_by="set_accept_enabled"),
    Method(ThreadWorker, "enqueue_req", ("conn",), called_by="on_client_socket_readable"),
    Method(ThreadWorker, "murder_pending", (), called_by="run"),
    Method(ThreadWorker, "handle_request", ("req", "conn"), called_by="handle"),
    Method(ThreadWorker, "handle_error", ("req", "client", "addr", "exc"), called_by="handle"),
    Method(Unreader, "take_buffered", ()),
    Method(Unreader, "unread", ("data",)),
)
ATTRIBUTES: dict[type, tuple[str, ...]] = {
    TConn: ("sock", "parser"),
    ThreadWorker: ("poller", "nr_conns", "max_keepalived"),
}
"""What their constructors set."""


def require_private_parts() -> None:
    """Raise `UserError` if this gunicorn lacks a part that the worker builds on, or has it in another form."""
    if missing := [*_missing_methods(), *_missing_attributes()]:
        raise UserError(
            f"gunicorn {gunicorn.__version__} is another than Leitstand's server is built on: {', '.join(missing)}; "
            "install one that pyproject.toml allows: pip install 'gunicorn>=27,<28'."
        )


def _missing_methods() -> Iterator[str]:
    for method in METHODS:
        function = getattr(method.owner, method.name, None)
        if function is None or _parameters(function) != method.parameters:
            yield f"{method.owner.__name__}.{method.name}({', '.join(method.parameters)}) is missing or another"
        elif method.called_by and method.name not in _names(ThreadWorker, method.called_by):
            yield f"{method.owner.__name__}.{method.name} is not called by {method.called_by}"


def _missing_attributes() -> Iterator[str]:
    for owner, names in ATTRIBUTES.items():
        for name in names:
            if name not in _names(owner, "__init__"):
                yield f"{owner.__name__} sets no {name}"


def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of a method's parameters without `self`."""
    return tuple(inspect.signature(function).parameters)[1:]


def _names(owner: type, method: str) -> set[str]:
    """Return the attributes that a method uses, also in its inner functions."""
    code = getattr(getattr(owner, method, None), "__code__", None)
    found: set[str] = set()
    waiting = [] if code is None else [code]
    while waiting:
        current = waiting.pop()
        found.update(current.co_names)
        waiting += [constant for constant in current.co_consts if inspect.iscode(constant)]
    return found
