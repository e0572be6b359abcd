"""The command that a request asks for, its actor and its conditions; all are validated before anything is queued."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Self

from flask import request

from api.commands.body_schemas import JSON_TYPES, PATCH_TYPES
from api.commands.preferences import Preferences, PreferHeader
from api.http.auth import authenticated_name, client_name
from api.http.parameters import Choice, Flag, Parameter, PatternText, Seconds, Step
from api.http.problems import ProblemError
from service.commands import Kind, check_arguments, split_why

SOURCES = ("api", "cli", "web")
ACTOR_LENGTH = 64
KEY_LENGTH = 255
MAX_EXPIRY_SECONDS = 7 * 24 * 3600
MAX_WAIT_SECONDS = 60


class ActorName(Parameter[str | None]):
    """Name of a person or program in a header: UTF-8, or Latin-1 as some clients send it."""

    def __init__(self) -> None:
        schema = {"type": "string", "maxLength": ACTOR_LENGTH, "pattern": "^[ -~¡-¬®-ÿ]*$"}
        super().__init__("X-Leitstand-Actor", "who asks, for the audit; the address is added", schema, None, "header")

    def _parse(self, text: str) -> str | None:
        with suppress(UnicodeError):
            # WSGI decodes header bytes as Latin-1.
            text = text.encode("latin-1").decode()
        if len(text) > ACTOR_LENGTH or not text.isprintable():
            raise self._invalid(text, f"at most {ACTOR_LENGTH} printable characters")
        return text or None


class IdempotencyKey(Parameter[str | None]):
    """Idempotency key of a command: bare `8e03978e…`, or `"8e03978e…"` as in the IETF draft (RFC 8941 string)."""

    _PATTERN = rf'[!#-~][!-~]{{0,{KEY_LENGTH - 1}}}|"(?:[!#-\[\]-~]|\\["\\]){{1,{KEY_LENGTH}}}"'

    def __init__(self) -> None:
        meaning = "names this very command: asked again with the same key, it is not queued a second time"
        schema = {"type": "string", "pattern": f"^(?:{self._PATTERN})$"}
        super().__init__("Idempotency-Key", meaning, schema, None, "header")

    def _parse(self, text: str) -> str:
        if not re.fullmatch(self._PATTERN, text):
            raise self._invalid(text, f"1 to {KEY_LENGTH} visible ASCII characters, with or without quotes around them")
        return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text


ACTOR = ActorName()
SOURCE = Choice("X-Leitstand-Source", "by what, for the audit", SOURCES, default=SOURCES[0], location="header")
KEY = IdempotencyKey()
IF_MATCH = PatternText(
    "If-Match", "queue it only while the settings have this ETag, or with `*` whatever they are",
    "[!-~][ -~]{0,999}", "ETags, or *", location="header",
)  # fmt: skip

APPLY_AT_STEP = Step("apply_at_step", "carry it out at the end of this step, above the run's, rather than at once")
EXPIRES_IN = Seconds(
    "expires_in", "unless it begins within so many seconds, it is never carried out", maximum=MAX_EXPIRY_SECONDS,
    is_zero_excluded=True,
)  # fmt: skip

DRY_RUN = Flag("dry_run", "check everything and queue nothing")
WAIT = Seconds("wait", "answer once it has ended, at the latest after so many seconds", maximum=MAX_WAIT_SECONDS)
PREFER = PreferHeader(MAX_WAIT_SECONDS)

PARAMETERS = (APPLY_AT_STEP, EXPIRES_IN, DRY_RUN, WAIT, KEY, ACTOR, SOURCE, PREFER)
"""Parameters of every command; a settings change also has `IF_MATCH`."""


@dataclass(frozen=True)
class CommandRequest:
    """Validated request for a command; `expires_in` and `wait` are seconds.

    `wait` is that of the query, or else that of `preferences`. `given_names` has, for each setting in `arguments`, the
    name of its member in the body.
    """

    kind: Kind
    arguments: dict[str, Any]
    given_names: Mapping[str, str]
    actor: str
    source: str
    apply_at_step: int | None
    expires_in: float | None
    dry_run: bool
    wait: float
    preferences: Preferences
    key: str | None
    if_match: str | None
    why: str | None

    @classmethod
    def of_request(cls, kind: Kind) -> Self:
        """Parse the current request; raises `ProblemError` or `CommandError` if it is invalid."""
        is_settings_change = kind is Kind.SET
        preferences, wait = PREFER.value() or Preferences(), WAIT.value()
        body, why = split_why(json_body(PATCH_TYPES if is_settings_change else JSON_TYPES))
        arguments = check_arguments(kind, body)
        return cls(
            kind=kind,
            arguments=arguments,
            given_names=dict(zip(arguments, body, strict=True)) if is_settings_change else {},
            actor=actor(),
            source=source(),
            apply_at_step=APPLY_AT_STEP.value(),
            expires_in=EXPIRES_IN.value(),
            dry_run=DRY_RUN.value(),
            wait=float(preferences.wait or 0) if wait is None else wait,
            preferences=preferences if wait is None else replace(preferences, wait=None),
            key=KEY.value(),
            if_match=IF_MATCH.value() if is_settings_change else None,
            why=why,
        )

    @classmethod
    def of_action(cls, kind: Kind, actor: str, source: str, key: str) -> Self:
        """Return the request for a command without arguments that no client wrote, and that is not waited for."""
        return cls(
            kind=kind,
            arguments={},
            given_names={},
            actor=actor,
            source=source,
            apply_at_step=None,
            expires_in=None,
            dry_run=False,
            wait=0.0,
            preferences=Preferences(),
            key=key,
            if_match=None,
            why=None,
        )

    @property
    def fingerprint(self) -> str:
        """Hash of the requested command; equal for equal requests, whatever their formatting and `wait`."""
        content = [self.kind.value, self.arguments, self.apply_at_step, self.expires_in, self.if_match]
        content += [] if self.why is None else [self.why]  # without one, as by versions that knew none
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def actor() -> str:
    """Return the actor of the current request: `name@address`, or with a token `name (token)@address`.

    The name is given by the client; the token's name is authenticated.
    """
    given_name, token_name = ACTOR.value(), authenticated_name()
    name = f"{given_name} ({token_name})" if given_name and token_name else given_name or client_name()
    return f"{name}@{request.remote_addr}"


def source() -> str:
    """Return the client program that the current request names as its source."""
    return SOURCE.value() or SOURCES[0]


def json_body(media_types: Sequence[str]) -> Any:
    """Parse the request's body, {} if it is empty; raises `ProblemError`."""
    content = request.get_data()
    if not content:
        return {}
    if request.mimetype not in media_types:
        expected = " or ".join(media_types)
        raise ProblemError(
            "unsupported-media-type",
            f"The body's Content-Type is {request.mimetype!r}, but must be {expected}; or send no body.",
            {"Accept-Patch": ", ".join(media_types)} if request.method == "PATCH" else {},
        )
    try:
        return json.loads(content, object_pairs_hook=_members)
    except _DuplicateMemberError as error:
        raise ProblemError("not-json", f"The body gives {error} twice; give each name once.") from None
    except (ValueError, RecursionError) as error:
        raise ProblemError("not-json", f"The body is not JSON ({error}); send one JSON object, or no body.") from None


class _DuplicateMemberError(ValueError):
    """An object with two members of one name, which is the text."""


def _members(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return the members of an object; raises `_DuplicateMemberError`: one of two would be lost."""
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        duplicate = next(name for name in names if names.count(name) > 1)
        raise _DuplicateMemberError(repr(duplicate))
    return members
