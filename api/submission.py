"""What a request asks for: a command, who asks, under which conditions. All is checked before anything is queued."""

import json
import re
from dataclasses import dataclass
from typing import Any, Self

from flask import request

from api.problems import ProblemError
from service.commands import Kind, check_arguments

SOURCES = ("api", "cli", "web")
ACTOR_LENGTH = 64
LONGEST_EXPIRY_SECONDS = 7 * 24 * 3600
LONGEST_WAIT_SECONDS = 60

_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_STEP = re.compile(r"[0-9]{1,18}")
_TRUTH = {"": True, "1": True, "true": True, "0": False, "false": False}


@dataclass(frozen=True)
class Submission:
    """One request for a command. `expires_in` and `wait` are seconds."""

    kind: Kind
    arguments: dict[str, Any]
    actor: str
    source: str
    apply_at_step: int | None
    expires_in: float | None
    dry_run: bool
    wait: float

    @classmethod
    def of_request(cls, kind: Kind) -> Self:
        """The present request; raises `ProblemError` or `CommandError` when it cannot be meant."""
        return cls(
            kind=kind,
            arguments=check_arguments(kind, _body()),
            actor=actor(),
            source=_source(),
            apply_at_step=_step(),
            expires_in=_seconds("expires_in", LONGEST_EXPIRY_SECONDS, open_at_zero=True),
            dry_run=_dry_run(),
            wait=_seconds("wait", LONGEST_WAIT_SECONDS) or 0.0,
        )


def actor() -> str:
    """Who asks, as they say, and from which address."""
    name = request.headers.get("X-Leitstand-Actor") or "anonymous"
    try:
        # WSGI hands header bytes on as Latin-1; people's names come as UTF-8.
        name = name.encode("latin-1").decode()
    except UnicodeError:
        name = "\0"
    if len(name) > ACTOR_LENGTH or not name.isprintable():
        raise ProblemError(
            "invalid-argument", f"X-Leitstand-Actor must be at most {ACTOR_LENGTH} printable characters."
        )
    return f"{name}@{request.remote_addr}"


def _source() -> str:
    source = request.headers.get("X-Leitstand-Source") or "api"
    if source not in SOURCES:
        raise ProblemError(
            "invalid-argument", f"X-Leitstand-Source is {source!r}, but must be one of: {', '.join(SOURCES)}."
        )
    return source


def _body() -> Any:
    """The arguments in the request's body; none when it is empty."""
    content = request.get_data()
    if not content:
        return {}
    if request.mimetype != "application/json":
        raise ProblemError(
            "unsupported-media-type",
            f"The body's Content-Type is {request.mimetype!r}, but must be application/json; or send no body.",
        )
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ProblemError("not-json", f"The body is not JSON ({error}); send {{}} or no body.") from None


def _step() -> int | None:
    text = request.args.get("apply_at_step")
    if text is None:
        return None
    if not _STEP.fullmatch(text):
        raise ProblemError("invalid-argument", f"apply_at_step is {text!r}, but must be a step, a whole number.")
    return int(text)


def _seconds(name: str, most: int, *, open_at_zero: bool = False) -> float | None:
    text = request.args.get(name)
    if text is None:
        return None
    if not _SECONDS.fullmatch(text) or float(text) > most or (open_at_zero and float(text) == 0):
        least = "above 0" if open_at_zero else "from 0"
        raise ProblemError("invalid-argument", f"{name} is {text!r}, but must be seconds {least} to {most}.")
    return float(text)


def _dry_run() -> bool:
    text = request.args.get("dry_run", "false").lower()
    if text not in _TRUTH:
        raise ProblemError("invalid-argument", f"dry_run is {text!r}, but must be true or false.")
    return _TRUTH[text]
