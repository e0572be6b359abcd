"""One connection to the API: requests, retries, token, TLS. Knows no routes."""

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
from service.auth.hosts import is_loopback
from service.client.address import DEFAULT_URL
from service.client.errors import (
    ApiError,
    BadAnswerError,
    damaged_file,
    error_for_failure,
    error_for_response,
    not_our_api,
)
from service.client.retry import FAILURES, RetryPolicy
from service.errors import UserError, plain_reason

CONNECT_SECONDS = 5.0
TIMEOUT_SECONDS = 10.0
KEY_HEADER = "Idempotency-Key"

_SAFE = frozenset({"GET", "HEAD", "DELETE"})
"""Methods whose repetition has no further effect."""


class ApiConnection:
    """A session with one server; use it as a context manager. Not safe to use from several threads.

    `run` is the id of the run to use, None means the server's default run. `ca_file` contains the certificates by which
    a TLS server is verified, None means those of this machine. A token is sent over plain HTTP to this machine only,
    unless `insecure_http` is set. `timeout_seconds` limits the time without data from the server. `actor` and `source`
    (`api`, `cli` or `web`) are shown in the list of commands.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        token: str | None = None,
        run: str | None = None,
        *,
        ca_file: Path | str | None = None,
        insecure_http: bool = False,
        timeout_seconds: float = TIMEOUT_SECONDS,
        actor: str | None = None,
        source: str = "api",
    ) -> None:
        """Prepare the session without connecting; raises `UserError` for an invalid argument."""
        self._url = _checked_url(url)
        is_on_this_machine = is_loopback(urlsplit(self._url).hostname or "")
        if token and not (insecure_http or is_on_this_machine):
            _require_encryption(self._url)
        self._run = run or None
        self._prefix = f"/runs/{path_part(run)}" if run else ""
        self._verify = _checked_ca_file(ca_file) if ca_file else True
        self._timeout_seconds = timeout_seconds
        self._session = requests.Session()
        # A proxy from the environment cannot reach the loopback interface of this machine.
        self._session.trust_env = not is_on_this_machine
        self._session.auth = _Bearer(token)
        self._session.headers.update(
            {"User-Agent": f"leitstand/{__version__}", "X-Leitstand-Source": source, "Accept": "application/json"}
        )
        if actor:
            self._session.headers["X-Leitstand-Actor"] = _sendable(actor)

    @property
    def url(self) -> str:
        """The server's address."""
        return self._url

    @property
    def run(self) -> str | None:
        """The id of the run to use; None for the server's default run."""
        return self._run

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def _get_object(
        self, path: str, query: Mapping[str, Any] | None = None, *, server_wide: bool = False
    ) -> dict[str, Any]:
        return self._json_object(self._send("GET", path, query, server_wide=server_wide))

    def _get_text(self, path: str, query: Mapping[str, Any] | None = None) -> str:
        return self._send("GET", path, query, accept="text/plain").content.decode(errors="replace")

    def _json_object(self, response: requests.Response, *, file_name: str = "") -> dict[str, Any]:
        """Return the answer's JSON object; raises `BadAnswerError`, which blames the file if the answer is one."""
        try:
            answer = response.json()
        except requests.JSONDecodeError:
            answer = None
        if not isinstance(answer, dict):
            is_file = file_name and "Repr-Digest" in response.headers  # no proxy's page of its own
            raise damaged_file(file_name) if is_file else not_our_api(self._url)
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
        extra_seconds: float = 0.0,
        stream: bool = False,
        server_wide: bool = False,
        has_no_effect: bool = False,
    ) -> requests.Response:
        """Send a request and return the answer; retries only if the request has no effect or an idempotency key.

        With `accept`, the answer must have this media type, which excludes for example a router's login page.
        `extra_seconds` is added to the timeout. `server_wide` routes do not depend on the run. Raises `ApiError`,
        `ServerUnreachableError`, `UntrustedServerError` or `BadAnswerError`, and `UserError` for a header or body that
        cannot be sent.
        """
        sent_headers = _checked_headers({**(headers or {}), **({"Accept": accept} if accept else {})})
        read_seconds = self._timeout_seconds + extra_seconds
        exchange = partial(
            self._session.request, method, self._url + ("" if server_wide else self._prefix) + path, params=query,
            json=body or None, headers=sent_headers, timeout=(min(CONNECT_SECONDS, read_seconds), read_seconds),
            verify=self._verify, stream=stream, allow_redirects=False,
        )  # fmt: skip
        has_effect = method not in _SAFE and not has_no_effect
        retry_policy = RetryPolicy(may_repeat=not has_effect or KEY_HEADER in sent_headers)
        last_error: UserError
        while True:
            try:
                return self._checked(exchange(), accept)
            except ApiError as refused:
                pause, last_error = retry_policy.after_refusal(refused), refused
            except FAILURES as failure:
                pause = retry_policy.after_failure(failure)
                last_error = error_for_failure(
                    self._url, failure, read_seconds, retry_policy.was_reached, has_effect=has_effect
                )
            except requests.exceptions.InvalidJSONError:
                raise UserError(f"{body} holds a number that JSON does not know; give a finite one.") from None
            except requests.RequestException as error:
                raise BadAnswerError(
                    f"The answer of {self._url} cannot be read ({plain_reason(error)}); ask again."
                ) from None
            if pause is None:
                raise last_error from None
            time.sleep(pause)

    def _checked(self, response: requests.Response, accept: str) -> requests.Response:
        is_refusal = response.status_code >= 300
        if not is_refusal and response.headers.get("Content-Type", "").startswith(accept.removesuffix("*")):
            return response
        with response:
            raise error_for_response(self._url, response) if is_refusal else not_our_api(self._url)


class _Bearer(AuthBase):
    """Authentication by token; also used without a token, because otherwise `requests` would apply a `.netrc` entry."""

    def __init__(self, token: str | None) -> None:
        if token and not _can_be_sent(token):
            raise UserError("The token holds characters that HTTP cannot carry; give it as it was made.")
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def path_part(text: str) -> str:
    """Quote `text` as one segment of a path; raises `UserError` for what is none, or would change the path."""
    if text in {"", ".", ".."} or "/" in text:
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
    """Return `url` without trailing slashes; raises `UserError` if it is not a plain HTTP address."""
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        # A password would appear in every error message, and paths would be appended to a query.
        is_valid = is_valid and not (parts.username or parts.password or parts.query or parts.fragment)
        requests.Request("GET", url).prepare()  # checks that `requests` accepts it
    except (ValueError, requests.RequestException):
        is_valid = False
    if not is_valid:
        raise UserError(f"The server's address is {_without_credentials(url)!r}, but must look like {DEFAULT_URL}.")
    return url.rstrip("/")


def _require_encryption(url: str) -> None:
    """Raise `UserError` if anybody on the way to `url` could read a token."""
    if urlsplit(url).scheme != "https":
        raise UserError(
            f"A token sent to {url} could be read on its way: give an address with https://, or an SSH tunnel's on "
            "127.0.0.1; or allow it with --insecure-http (LEITSTAND_INSECURE_HTTP=1, in Python insecure_http=True)."
        )


def _without_credentials(url: str) -> str:
    """Return `url` without user name and password, even if it is not a valid URL."""
    scheme, slashes, rest = url.rpartition("//")
    return scheme + slashes + rest.rpartition("@")[2]


def _checked_ca_file(ca_file: Path | str) -> str:
    """Return the file's path; raises `UserError` if it does not exist, which `requests` would report only later."""
    if not Path(ca_file).is_file():
        raise UserError(f"There is no file {ca_file} of certificates; give an existing one (--ca, LEITSTAND_CA).")
    return str(ca_file)


def _sendable(actor: str) -> str:
    """Return a name that the server accepts: at most 64 printable ASCII characters."""
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in actor)[:64]
