"""Webhooks: one signed POST to WEBHOOK_URL for every alert that begins or ends.

The signature is an HMAC-SHA256 with WEBHOOK_SECRET over `<t>.<body>`, `t` being the time that stands beside it in the
header: who checks it, and that `t` is of the last minutes, knows that nobody else sent it, and nobody again.
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
    """Who gets the POSTs. Neither address nor secret ever gets into a log: the address may be a secret by itself."""

    url: str
    secret: str

    @classmethod
    def of(cls, config: RunConfig) -> "WebhookTarget | None":
        """The one that the settings name, if any; raises `SettingError`."""
        if not config.webhook_url:
            return None
        try:
            parts = urlsplit(config.webhook_url)
            is_good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_good = False
        if not is_good:
            raise SettingError("WEBHOOK_URL is not the address of a web server; write https://host/path.")
        return cls(config.webhook_url, config.webhook_secret)

    @property
    def id(self) -> str:
        """Tells receivers apart in the store."""
        return hashlib.sha256(self.url.encode()).hexdigest()[:16]

    @property
    def host(self) -> str:
        """For people."""
        return str(urlsplit(self.url).hostname)


class DeliveryOutcome(Enum):
    """What became of one attempt."""

    TAKEN = auto()
    REFUSED = auto()
    AWAY = auto()


@dataclass(frozen=True)
class DeliveryAttempt:
    """One attempt: its outcome, what to say of it, and how long the receiver asked to wait."""

    outcome: DeliveryOutcome
    why: str
    wait_seconds: float = 0.0


def signature(secret: str, sent_at: int, body: bytes) -> str:
    """The value of the signature's header for a body sent at the Unix time `sent_at`."""
    key = secret.encode(errors="surrogateescape")  # the bytes that the environment held, UTF-8 or not
    mac = hmac.new(key, f"{sent_at}.".encode() + body, hashlib.sha256)
    return f"t={sent_at},v1={mac.hexdigest()}"


def event_name(event: Event) -> str:
    """What tells this event from all others of all runs: a receiver may get one twice."""
    return f"{event.run_id}-{event.id}"


def payload(event: Event, sent_at: int) -> Mapping[str, Any]:
    """What is sent of an alert."""
    told = {key: event.details[key] for key in ("name", "is_on", "since", "sentence")}
    return {"id": event_name(event), "run_id": event.run_id, "step": event.step, **told, "sent_at": sent_at}


def post(receiver: WebhookTarget, event: Event, sent_at: int) -> DeliveryAttempt:
    """Send one alert; raises nothing that the network or the receiver do. Redirects are not followed."""
    body = json.dumps(payload(event, sent_at)).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"leitstand/{__version__}",
        EVENT_ID: quote(event_name(event)),  # a header bears no more than ASCII
    }
    if receiver.secret:
        headers[SIGNATURE] = signature(receiver.secret, sent_at, body)
    timeout = (CONNECT_SECONDS, ANSWER_SECONDS)
    logging.getLogger("urllib3.connection").setLevel(logging.ERROR)  # its warnings hold the whole address
    try:
        # Streamed: the answer's body is nobody's concern, however long it is.
        with requests.post(
            receiver.url, body, headers=headers, auth=_of_address, timeout=timeout, allow_redirects=False, stream=True
        ) as answer:
            return _verdict(answer)
    except requests.Timeout:
        return DeliveryAttempt(DeliveryOutcome.AWAY, "it does not answer in time")
    except (requests.RequestException, OSError, ValueError) as error:
        return DeliveryAttempt(DeliveryOutcome.AWAY, f"it cannot be reached ({type(error).__name__})")


def _of_address(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Name and password that the address holds, if any: otherwise an entry of `.netrc` would replace them."""
    user, password = get_auth_from_url(request.url or "")
    return HTTPBasicAuth(user, password)(request) if user or password else request


def _verdict(answer: requests.Response) -> DeliveryAttempt:
    status, why = answer.status_code, f"it answers {answer.status_code}"
    if 200 <= status < 300:
        return DeliveryAttempt(DeliveryOutcome.TAKEN, why)
    if status >= 500 or status in {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}:
        asked = answer.headers.get("Retry-After", "")
        wait_seconds = float(asked) if asked.isascii() and asked.isdigit() else 0.0
        return DeliveryAttempt(DeliveryOutcome.AWAY, why, wait_seconds)
    if 300 <= status < 400:
        why += ", and redirects are not followed"
    return DeliveryAttempt(DeliveryOutcome.REFUSED, why)
