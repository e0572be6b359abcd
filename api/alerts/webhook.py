"""Webhooks: one signed POST to WEBHOOK_URL for every alert that begins or ends.

The signature is an HMAC-SHA256 with WEBHOOK_SECRET over `<t>.<body>`, where `t` is the time given in the same header. A
receiver that verifies it, and that `t` is a few minutes old at most, excludes forged and replayed messages.
"""

import hashlib
import hmac
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

import requests
from requests.auth import HTTPBasicAuth
from requests.utils import get_auth_from_url

from service import __version__
from service.config.settings import RunConfig
from service.errors import SettingError
from service.store.queries.events import Event

CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 10.0
SIGNATURE, EVENT_ID = "X-Leitstand-Signature", "X-Leitstand-Event-Id"


@dataclass(frozen=True, repr=False)
class WebhookTarget:
    """Receiver of the POSTs. Neither URL nor secret is ever logged: the URL may contain a secret itself."""

    url: str
    secret: str

    @classmethod
    def of(cls, config: RunConfig) -> "WebhookTarget | None":
        """Return the target in the settings, or None; raises `SettingError` for an invalid URL."""
        if not config.webhook_url:
            return None
        try:
            parts = urlsplit(config.webhook_url)
            is_valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_valid = False
        if not is_valid:
            raise SettingError("WEBHOOK_URL is not the address of a web server; write https://host/path.")
        return cls(config.webhook_url, config.webhook_secret)

    @property
    def id(self) -> str:
        """Identifier of the receiver in the store."""
        return hashlib.sha256(self.url.encode()).hexdigest()[:16]

    @property
    def host(self) -> str:
        """Host name, for log messages."""
        return str(urlsplit(self.url).hostname)


class DeliveryOutcome(Enum):
    """Result of one delivery attempt."""

    ACCEPTED = auto()
    REJECTED = auto()
    UNAVAILABLE = auto()


@dataclass(frozen=True)
class DeliveryAttempt:
    """One attempt: its outcome, the reason for the log, and the delay that the receiver requested in seconds."""

    outcome: DeliveryOutcome
    reason: str
    wait_seconds: float = 0.0


def signature(secret: str, sent_at: int, body: bytes) -> str:
    """Return the value of the signature header for a body sent at the Unix time `sent_at`."""
    key = secret.encode(errors="surrogateescape")  # the exact bytes of the environment, UTF-8 or not
    mac = hmac.new(key, f"{sent_at}.".encode() + body, hashlib.sha256)
    return f"t={sent_at},v1={mac.hexdigest()}"


def event_name(event: Event) -> str:
    """Return the globally unique id of an event, with which a receiver detects duplicates."""
    return f"{event.run_id}-{event.id}"


def payload(event: Event, sent_at: int) -> Mapping[str, Any]:
    """Return the body of the POST for an alert's event."""
    fields = {key: event.details[key] for key in ("name", "is_on", "since", "sentence")}
    return {"id": event_name(event), "run_id": event.run_id, "step": event.step, **fields, "sent_at": sent_at}


def post(receiver: WebhookTarget, event: Event, sent_at: int) -> DeliveryAttempt:
    """Send one alert and return the outcome; never raises for errors of the network or the receiver.

    Redirects are not followed.
    """
    body = json.dumps(payload(event, sent_at)).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"leitstand/{__version__}",
        EVENT_ID: quote(event_name(event)),  # a header must be ASCII
    }
    if receiver.secret:
        headers[SIGNATURE] = signature(receiver.secret, sent_at, body)
    timeout = (CONNECT_SECONDS, ANSWER_SECONDS)
    logging.getLogger("urllib3.connection").setLevel(logging.ERROR)  # its warnings contain the whole URL
    try:
        # Streamed, so that the response's body, of any length, is not read.
        with requests.post(
            receiver.url,
            body,
            headers=headers,
            auth=_authenticate_from_url,
            timeout=timeout,
            allow_redirects=False,
            stream=True,
        ) as response:
            return _attempt_from_response(response)
    except requests.Timeout:
        return DeliveryAttempt(DeliveryOutcome.UNAVAILABLE, "it does not answer in time")
    except (requests.RequestException, OSError, ValueError) as error:
        return DeliveryAttempt(DeliveryOutcome.UNAVAILABLE, f"it cannot be reached ({type(error).__name__})")


def _authenticate_from_url(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Apply the user name and password of the URL, if any: otherwise an entry of `.netrc` would replace them."""
    user, password = get_auth_from_url(request.url or "")
    return HTTPBasicAuth(user, password)(request) if user or password else request


def _attempt_from_response(response: requests.Response) -> DeliveryAttempt:
    status, reason = response.status_code, f"it answers {response.status_code}"
    if 200 <= status < 300:
        return DeliveryAttempt(DeliveryOutcome.ACCEPTED, reason)
    if status >= 500 or status in {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}:
        retry_after = response.headers.get("Retry-After", "")
        wait_seconds = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0
        return DeliveryAttempt(DeliveryOutcome.UNAVAILABLE, reason, wait_seconds)
    if 300 <= status < 400:
        reason += ", and redirects are not followed"
    return DeliveryAttempt(DeliveryOutcome.REJECTED, reason)
