"""Webhooks: one POST to WEBHOOK_URL for every alert that begins or ends, signed as Standard Webhooks 1.0.0 describes.

The signature is an HMAC-SHA256 over `<id>.<time>.<body>`. A receiver that verifies it, and that the time is a few
minutes old at most, excludes forged and replayed messages; libraries for this exist in many languages.
"""

import base64
import hashlib
import hmac
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

import requests
from requests.auth import HTTPBasicAuth
from requests.utils import get_auth_from_url

from api.alerts.actions import ActionLinks
from api.alerts.receiver import DeliveryAttempt, DeliveryOutcome
from api.alerts.signing import checked_key, signing_key
from service import __version__
from service.alerts.receivers import receiver_id
from service.config.settings import RunConfig
from service.errors import SettingError
from service.store.queries.events import Event

CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 10.0
MESSAGE_ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"


@dataclass(frozen=True, repr=False)
class WebhookTarget:
    """Receiver of the POSTs. Neither URL nor secret is ever logged: the URL may contain a secret itself.

    With two secrets each POST has two signatures, so that a receiver can change from the old secret to the new one.
    """

    url: str
    secret: str
    old_secret: str = ""
    actions: ActionLinks | None = None

    @classmethod
    def of(cls, config: RunConfig) -> "WebhookTarget | None":
        """Return the target in the settings, or None; raises `SettingError` for an invalid URL or secret."""
        if not config.webhook_url:
            return None
        try:
            parts = urlsplit(config.webhook_url)
            is_valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_valid = False
        if not is_valid:
            raise SettingError("WEBHOOK_URL is not the address of a web server; write https://host/path.")
        for name in ("webhook_secret", "webhook_old_secret"):
            checked_key(name.upper(), getattr(config, name))
        actions = ActionLinks.of(config)
        return cls(config.webhook_url, config.webhook_secret, config.webhook_old_secret, actions)

    @property
    def id(self) -> str:
        """Identifier of the receiver in the store."""
        return receiver_id(self.url)

    @property
    def name(self) -> str:
        """What log messages call it: its host."""
        return f"the webhook at {urlsplit(self.url).hostname}"

    def deliver(self, event: Event, sent_at: int) -> DeliveryAttempt:
        """Send one alert at the Unix time `sent_at` and return the outcome; never raises."""
        return post(self, event, sent_at)

    @property
    def keys(self) -> list[bytes]:
        """Keys of the signatures, the present one first."""
        return [signing_key(secret) for secret in (self.secret, self.old_secret) if secret]


def signatures(keys: Iterable[bytes], message_id: str, sent_at: int, body: bytes) -> str:
    """Return the value of the signature header for a body sent at the Unix time `sent_at`: one signature per key."""
    signed = f"{message_id}.{sent_at}.".encode() + body
    macs = [hmac.new(key, signed, hashlib.sha256).digest() for key in keys]
    return " ".join(f"v1,{base64.b64encode(mac).decode()}" for mac in macs)


def event_name(event: Event) -> str:
    """Return the globally unique id of an event, with which a receiver detects duplicates."""
    return f"{event.run_id}-{event.id}"


def payload(event: Event, sent_at: int, actions: ActionLinks | None = None) -> Mapping[str, Any]:
    """Return the body of the POST for an alert's event; with `actions`, the links that answer it are in it."""
    fields = {key: event.details[key] for key in ("name", "is_on", "since", "sentence")}
    body = {"id": event_name(event), "run_id": event.run_id, "step": event.step, **fields, "sent_at": sent_at}
    if actions is not None:
        body["actions"] = [link.as_dict() for link in actions.offered(event, sent_at)]
    return body


def headers_of(receiver: WebhookTarget, event: Event, sent_at: int, body: bytes) -> dict[str, str]:
    """Return the headers of the POST of a body."""
    message_id = quote(event_name(event))  # a header must be ASCII
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"leitstand/{__version__}",
        MESSAGE_ID: message_id,
        TIMESTAMP: str(sent_at),
    }
    if keys := receiver.keys:
        headers[SIGNATURE] = signatures(keys, message_id, sent_at, body)
    return headers


def post(receiver: WebhookTarget, event: Event, sent_at: int) -> DeliveryAttempt:
    """Send one alert and return the outcome; never raises for errors of the network or the receiver.

    Redirects are not followed.
    """
    body = json.dumps(payload(event, sent_at, receiver.actions)).encode()
    headers = headers_of(receiver, event, sent_at, body)
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
    if status == HTTPStatus.GONE:
        return DeliveryAttempt(DeliveryOutcome.GONE, reason)
    if 300 <= status < 400:
        reason += ", and redirects are not followed"
    return DeliveryAttempt(DeliveryOutcome.REJECTED, reason)
