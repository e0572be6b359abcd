"""Actions: links in a notification that pause or stop a run without a token, once, and for ten minutes.

The end of a link is `<claims>.<signature>`, both base64url: claims are run, event, command and expiry as JSON, the
signature is their HMAC-SHA256 with the key of ACTION_SECRET. Nothing is kept of a link that nobody uses. One that was
used is known by the command that came of it, in the run's store: so for all servers of the run, and after restarts.
"""

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

from flask import Flask

from api.alerts.signing import KEY_BYTES, KEY_PREFIX, checked_key
from api.http.problems import ProblemError
from api.http.rate_limit import RateLimit
from service.auth.hosts import host_names, is_loopback, normalized_name
from service.commands import Kind
from service.config.settings import RunConfig
from service.errors import SettingError
from service.store.queries.events import Event

ACTION_SECONDS = 600
"""How long a link works after the notification with it was sent."""
KINDS = (Kind.PAUSE, Kind.STOP)
WITHOUT_TRAINER = frozenset({"lost", "failed"})
"""Alerts of runs that nobody is there to pause or stop."""
EXTENSION = "leitstand.actions"
_CONTEXT = b"leitstand action 1\n"
"""What else is signed with the same key, is no signature of an action."""
_SEPARATORS = frozenset(" ,;='\"<>\\")
"""Characters that would end a link in a text, or in the header by which ntfy learns of its buttons."""


@dataclass(frozen=True)
class Action:
    """What the holder of a link may ask once: the command `kind` for a run, until `expires_at` (Unix seconds)."""

    run_id: str
    event_id: int
    kind: Kind
    expires_at: int

    @property
    def key(self) -> str:
        """Idempotency key of its command: one for each alert and kind, however often it was sent, and to whom.

        No request can name such a key, since it has spaces.
        """
        return f"action {self.event_id} {self.kind}"


@dataclass(frozen=True)
class ActionLink:
    """One offered action and its address."""

    action: Action
    url: str

    def as_dict(self) -> dict[str, Any]:
        """Return it as webhooks hold it."""
        return {"command": self.action.kind.value, "url": self.url, "expires_at": self.action.expires_at}


@dataclass(frozen=True, repr=False)
class ActionLinks:
    """Makes and verifies the links of one server, which is reached at `public_url`, without a slash at its end."""

    public_url: str
    secret_key: bytes
    rate_limit: RateLimit
    clock: Callable[[], float] = time.time

    @classmethod
    def of(cls, config: RunConfig) -> "ActionLinks | None":
        """Return the links that the settings allow, or None; raises `SettingError` where they do not fit together."""
        if not config.public_url and not config.action_secret:
            return None
        for name, other in (("PUBLIC_URL", "ACTION_SECRET"), ("ACTION_SECRET", "PUBLIC_URL")):
            if not getattr(config, name.lower()):
                raise SettingError(f"{other} is set, but {name} is not: buttons in notifications need both.")
        rate_limit = RateLimit("action links", config.api_commands_per_minute)
        return cls(_checked_url(config), _checked_secret(config.action_secret), rate_limit)

    def offered(self, event: Event, sent_at: int) -> list[ActionLink]:
        """Return the links that answer an alert's event, in a notification sent at the Unix time `sent_at`."""
        if not event.details["is_on"] or event.details["name"] in WITHOUT_TRAINER:
            return []
        actions = [Action(event.run_id, event.id, kind, sent_at + ACTION_SECONDS) for kind in KINDS]
        return [ActionLink(action, f"{self.public_url}/actions/{self.token(action)}") for action in actions]

    def token(self, action: Action) -> str:
        """Return the end of an action's link."""
        claims = _encoded(json.dumps([action.run_id, action.event_id, action.kind, action.expires_at]).encode())
        return f"{claims}.{self.signature(claims)}"

    def verified(self, token: str) -> Action:
        """Return the action of a link, expired or not; raises `ProblemError` (action-invalid) if it is none of ours."""
        claims, _, signature = token.partition(".")
        if hmac.compare_digest(self.signature(claims).encode(), signature.encode(errors="replace")):
            with suppress(ValueError, TypeError, binascii.Error):
                run_id, event_id, kind, expires_at = json.loads(base64.urlsafe_b64decode(claims + "=="))
                return Action(str(run_id), int(event_id), Kind(kind), int(expires_at))
        raise ProblemError(
            "action-invalid", "This link is not one of this server's, or was altered: open it as it was sent."
        )

    def is_expired(self, action: Action) -> bool:
        """Whether the action may not be used any more; also where a clock has been set back for long."""
        return not action.expires_at - 2 * ACTION_SECONDS < self.clock() < action.expires_at

    def signature(self, claims: str) -> str:
        """Return the signature of encoded claims."""
        signed = _CONTEXT + claims.encode(errors="replace")
        return _encoded(hmac.new(self.secret_key, signed, hashlib.sha256).digest())


def register(app: Flask, config: RunConfig) -> None:
    """Give `app` its action links, if the settings allow any; raises `SettingError`."""
    app.extensions[EXTENSION] = ActionLinks.of(config)


def action_links_of(app: Flask) -> ActionLinks | None:
    """Return what `register` gave to `app`."""
    links = app.extensions[EXTENSION]
    assert links is None or isinstance(links, ActionLinks)
    return links


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _checked_secret(secret: str) -> bytes:
    """Return the key of ACTION_SECRET; raises `SettingError` if it could be guessed from one link."""
    key = checked_key("ACTION_SECRET", secret)
    if len(key) < KEY_BYTES[0]:
        raise SettingError(
            f"ACTION_SECRET has {len(key)} bytes, but needs {KEY_BYTES[0]}, since who has a link can try secrets at "
            f'any speed: make one with `echo "{KEY_PREFIX}$(openssl rand -base64 32)"`.'
        )
    return key


def _checked_url(config: RunConfig) -> str:
    """Return PUBLIC_URL without a slash at its end; raises `SettingError`."""
    url = config.public_url
    try:
        parts = urlsplit(url)
        is_valid = _is_plain(parts) and parts.port != 0 and not _SEPARATORS.intersection(url) and url.isascii()
    except ValueError:
        is_valid = False
        parts = SplitResult("", "", "", "", "")
    host = normalized_name(parts.hostname or "")
    if not is_valid or not (parts.scheme == "https" or is_loopback(host)):
        raise SettingError(
            f"PUBLIC_URL is {url!r}, but must be the address at which people's phones reach the API, as "
            "https://train.example or https://train.example/leitstand; http:// is for this machine alone."
        )
    names = host_names(config)
    if names and host not in names:
        raise SettingError(f"PUBLIC_URL leads to {host}, which API_HOSTS does not name: add it there.")
    return quote(url.rstrip("/"), safe=":/[]@!$&()*+%~")


def _is_plain(parts: SplitResult) -> bool:
    """Whether an address has a host, and neither a user nor anything after its path."""
    is_web = parts.scheme in {"http", "https"} and bool(parts.hostname)
    return is_web and "@" not in parts.netloc and not parts.query and not parts.fragment
