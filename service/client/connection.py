"""One connection to the API: requests and answers, what is sent again, the token, TLS; knows no routes."""

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import requests
from requests.auth import AuthBase

from service import __version__
from service.client.errors import ApiError, BadAnswerError, error_for_failure, error_for_response, not_our_api
from service.client.retry import FAILURES, RetryPolicy
from service.errors import UserError

DEFAULT_URL = "http://127.0.0.1:5050"
CONNECT_SECONDS = 5.0
TIMEOUT_SECONDS = 10.0
KEY_HEADER = "Idempotency-Key"

_SAFE = frozenset({"GET", "HEAD", "DELETE"})
"""Methods that can be sent twice: the second time changes nothing more."""


class ApiConnection:
    """A session with one server; use it as a context manager. Not for use from several threads.

    `run` is the id of the run that is meant, None the server's default run. `ca_file` holds the certificates that a
    server with TLS is checked against, None those of this machine. `timeout_seconds` is how long an answer may be
    silent. `actor` and `source` (`api`, `cli` or `web`) are what the audit of commands shows beside the address.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        token: str | None = None,
        run: str | None = None,
        *,
        ca_file: Path | str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        actor: str | None = None,
        source: str = "api",
    ) -> None:
        """Connects only when asked something. Raises `UserError` when an argument cannot be used."""
        self._url = _checked_url(url)
        self._prefix = f"/runs/{path_part(run)}" if run else ""
        self._verify = _checked_ca_file(ca_file) if ca_file else True
        self._timeout_seconds = timeout_seconds
        self._session = requests.Session()
        # A proxy from the environment cannot reach this machine's loopback.
        self._session.trust_env = urlsplit(self._url).hostname not in {"127.0.0.1", "localhost", "::1"}
        self._session.auth = _Bearer(token)
        self._session.headers.update(
            {"User-Agent": f"leitstand/{__version__}", "X-Leitstand-Source": source, "Accept": "application/json"}
        )
        if actor:
            self._session.headers["X-Leitstand-Actor"] = _sendable(actor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back the connection."""
        self._session.close()

    def _get_object(
        self, path: str, query: Mapping[str, Any] | None = None, *, room_wide: bool = False
    ) -> dict[str, Any]:
        return self._json_object(self._send("GET", path, query, room_wide=room_wide))

    def _get_text(self, path: str, query: Mapping[str, Any] | None = None) -> str:
        return self._send("GET", path, query, accept="text/plain").content.decode(errors="replace")

    def _json_object(self, response: requests.Response) -> dict[str, Any]:
        try:
            answer = response.json()
        except requests.JSONDecodeError:
            answer = None
        if not isinstance(answer, dict):
            raise not_our_api(self._url)
        return answer

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        *,
        accept: str = "",
        headers: Mapping[str, str] | None = None,
        silence_seconds: float = 0.0,
        stream: bool = False,
        room_wide: bool = False,
        has_no_effect: bool = False,
    ) -> requests.Response:
        """The answer to one request; sent again only where that is safe: without an effect, or under a key.

        With `accept` the answer must be of this media type: a router's page is none. The server may be silent
        `silence_seconds` longer than usual. Raises `ApiError`, `ServerUnreachableError`, `UntrustedServerError` or
        `BadAnswerError`, and `UserError` for a header or body that cannot be sent.
        """
        sent_headers = _checked_headers({**(headers or {}), **({"Accept": accept} if accept else {})})
        read_seconds = self._timeout_seconds + silence_seconds
        exchange = partial(
            self._session.request, method, self._url + ("" if room_wide else self._prefix) + path, params=query,
            json=body or None, headers=sent_headers, timeout=(min(CONNECT_SECONDS, read_seconds), read_seconds),
            verify=self._verify, stream=stream, allow_redirects=False,
        )  # fmt: skip
        has_effect = method not in _SAFE and not has_no_effect
        retry_policy = RetryPolicy(may_repeat=not has_effect or KEY_HEADER in sent_headers)
        final: UserError
        while True:
            try:
                return self._checked(exchange(), accept)
            except ApiError as refused:
                pause, final = retry_policy.after_refusal(refused), refused
            except FAILURES as failure:
                pause = retry_policy.after_failure(failure)
                final = error_for_failure(
                    self._url, failure, read_seconds, retry_policy.was_reached, has_effect=has_effect
                )
            except requests.exceptions.InvalidJSONError:
                raise UserError(f"{body} holds a number that JSON does not know; give a finite one.") from None
            except requests.RequestException as error:
                raise BadAnswerError(f"The answer of {self._url} cannot be read ({error}).") from None
            if pause is None:
                raise final from None
            time.sleep(pause)

    def _checked(self, response: requests.Response, accept: str) -> requests.Response:
        is_refusal = response.status_code >= 300
        if not is_refusal and response.headers.get("Content-Type", "").startswith(accept.removesuffix("*")):
            return response
        with response:
            raise error_for_response(self._url, response) if is_refusal else not_our_api(self._url)


class _Bearer(AuthBase):
    """Sets the token itself, or nothing: otherwise a `.netrc` entry would replace it."""

    def __init__(self, token: str | None) -> None:
        if token and not _can_be_sent(token):
            raise UserError("The token holds characters that HTTP cannot carry; give it as it was made.")
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def path_part(text: str) -> str:
    """`text` as one part of a path; raises `UserError` for `.` and `..`, which would lead to another one."""
    if text in {".", ".."}:
        raise UserError(f"Nothing is named {text!r}; give a name or an id.")
    return quote(text, safe="")


def _can_be_sent(value: str) -> bool:
    return value.isascii() and value.isprintable()


def _checked_headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _can_be_sent(value):
            raise UserError(f"{name} {value!r} holds characters that HTTP cannot carry; use plain ASCII.")
    return headers


def _checked_url(url: str) -> str:
    """`url` without a trailing slash; raises `UserError` when it is not an HTTP address and nothing more."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        # A password would show in every error, and a query would swallow the paths.
        usable = usable and not (parts.username or parts.password or parts.query or parts.fragment)
        requests.Request("GET", url).prepare()  # whether `requests` would take it, too
    except (ValueError, requests.RequestException):
        usable = False
    if not usable:
        raise UserError(f"The server's address is {_shown(url)!r}, but must look like {DEFAULT_URL}.")
    return url.rstrip("/")


def _shown(url: str) -> str:
    """`url` without what may be a password."""
    scheme, found, rest = url.rpartition("//")
    return scheme + found + rest.rpartition("@")[2]


def _checked_ca_file(ca_file: Path | str) -> str:
    """The file's path; raises `UserError` when there is none: `requests` would complain only when asked."""
    if not Path(ca_file).is_file():
        raise UserError(f"There is no file {ca_file} of certificates; give an existing one (--ca, LEITSTAND_CA).")
    return str(ca_file)


def _sendable(actor: str) -> str:
    """A name as the server takes it: at most 64 printable ASCII characters."""
    return "".join(sign if sign.isascii() and sign.isprintable() else "?" for sign in actor)[:64]
