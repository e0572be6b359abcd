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

from api.alerts.receiver import DeliveryAttempt, DeliveryOutcome
from service import __version__
from service.alerts.receivers import receiver_id
from service.config.settings import RunConfig
from service.errors import SettingError
from service.store.queries.events import Event

CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 10.0
MESSAGE_ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
KEY_PREFIX = "whsec_"
"""What a secret begins with that is the base64 of its key; any other secret is the key itself, byte for byte."""
KEY_BYTES = 24, 64
"""Shortest and longest key of such a secret."""


@dataclass(frozen=True, repr=False)
class WebhookTarget:
    """Receiver of the POSTs. Neither URL nor secret is ever logged: the URL may contain a secret itself.

    With two secrets each POST has two signatures, so that a receiver can change from the old secret to the new one.
    """

    url: str
    secret: str
    old_secret: str = ""

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
            _check_secret(name.upper(), getattr(config, name))
        return cls(config.webhook_url, config.webhook_secret, config.webhook_old_secret)

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


def _check_secret(name: str, secret: str) -> None:
    """Raise `SettingError` for a secret in the form of the standard that does not follow it."""
    try:
        key = signing_key(secret)
    except ValueError:
        raise SettingError(
            f"{name} begins with {KEY_PREFIX}, but what follows is not base64; copy it again, or "
            f"choose a secret that begins otherwise."
        ) from None
    least, most = KEY_BYTES
    if secret.startswith(KEY_PREFIX) and not least <= len(key) <= most:
        raise SettingError(
            f"{name} stands for a key of {len(key)} bytes, but Standard Webhooks asks for {least} to {most}: "
            f'make one with `echo "{KEY_PREFIX}$(openssl rand -base64 32)"`.'
        )


def signing_key(secret: str) -> bytes:
    """Return the key that a secret stands for; raises `ValueError` if what follows `whsec_` is not base64."""
    if not secret.startswith(KEY_PREFIX):
        return secret.encode(errors="surrogateescape")  # the exact bytes of the environment, UTF-8 or not
    encoded = secret.removeprefix(KEY_PREFIX)
    return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)


def signatures(keys: Iterable[bytes], message_id: str, sent_at: int, body: bytes) -> str:
    """Return the value of the signature header for a body sent at the Unix time `sent_at`: one signature per key."""
    signed = f"{message_id}.{sent_at}.".encode() + body
    macs = [hmac.new(key, signed, hashlib.sha256).digest() for key in keys]
    return " ".join(f"v1,{base64.b64encode(mac).decode()}" for mac in macs)


def event_name(event: Event) -> str:
    """Return the globally unique id of an event, with which a receiver detects duplicates."""
    return f"{event.run_id}-{event.id}"


def payload(event: Event, sent_at: int) -> Mapping[str, Any]:
    """Return the body of the POST for an alert's event."""
    fields = {key: event.details[key] for key in ("name", "is_on", "since", "sentence")}
    return {"id": event_name(event), "run_id": event.run_id, "step": event.step, **fields, "sent_at": sent_at}


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
    body = json.dumps(payload(event, sent_at)).encode()
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
