"""One connection to the API: requests and answers, refusals as sentences, the token; knows no routes."""

import time
from collections.abc import Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase

from service.errors import UserError

DEFAULT_URL = "http://127.0.0.1:5050"
TIMEOUT_SECONDS = 10.0
GET_PAUSES_SECONDS = (0.1, 0.4, 0.0)
"""Pauses after each unsuccessful GET; after the last there is no further attempt."""

_EXIT_CODES = {int(HTTPStatus.SERVICE_UNAVAILABLE): 3, int(HTTPStatus.CONFLICT): 1}


class ApiError(UserError):
    """The server refused; its sentence is the text. `status` is the HTTP status."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status
        self.exit_code = _EXIT_CODES.get(status, 2 if status < 500 else 1)


class ServerUnreachableError(UserError):
    """Nothing answers at the server's address."""

    exit_code = 3


class Connection:
    """A session with one server; use it as a context manager. Not for use from several threads.

    `actor` and `source` (`api`, `cli` or `web`) are what the audit of commands shows beside the address.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        token: str | None = None,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        actor: str | None = None,
        source: str = "api",
    ) -> None:
        """Connects only when asked something. Raises `UserError` when `url` or `token` cannot be sent."""
        self._url = _checked_url(url)
        self._timeout_seconds = timeout_seconds
        self._session = requests.Session()
        # A proxy from the environment cannot reach this machine's loopback.
        self._session.trust_env = urlsplit(self._url).hostname not in {"127.0.0.1", "localhost", "::1"}
        self._session.auth = _Bearer(token)
        self._session.headers.update({"X-Leitstand-Source": source, "Accept": "application/json"})
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

    def _get_object(self, path: str, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return self._json_object(self._send("GET", path, query))

    def _json_object(self, response: requests.Response) -> dict[str, Any]:
        try:
            answer = response.json()
        except requests.JSONDecodeError:
            answer = None
        if not isinstance(answer, dict):
            raise ApiError(f"{self._url} does not answer as Leitstand's API does; check the address.", 502)
        return answer

    def _send(
        self, method: str, path: str, query: Mapping[str, Any] | None = None, body: Mapping[str, Any] | None = None
    ) -> requests.Response:
        """The answer to one request; a GET is tried again when the connection fails, nothing else ever is."""
        url, timeout = self._url + path, self._timeout_seconds
        for pause_seconds in GET_PAUSES_SECONDS if method == "GET" else (0.0,):
            try:
                response = self._session.request(
                    method, url, params=query, json=body or None, timeout=timeout, allow_redirects=False
                )
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                failure = error
                time.sleep(pause_seconds)
            else:
                return self._checked(response)
        raise ServerUnreachableError(self._unreachable_text(method, failure))

    def _unreachable_text(self, method: str, failure: requests.RequestException) -> str:
        if isinstance(failure, requests.ReadTimeout):
            doubt = "" if method == "GET" else " and may or may not have taken the command"
            return f"{self._url} did not answer within {self._timeout_seconds:g} s{doubt}; look at the server's output."
        return (
            f"Nothing answers at {self._url}: start it with `leitstand up` or `leitstand serve`, "
            "or give its address (--url, LEITSTAND_URL)."
        )

    def _checked(self, response: requests.Response) -> requests.Response:
        if response.status_code < 300:
            return response
        raise ApiError(_refusal(self._url, response), response.status_code)


class _Bearer(AuthBase):
    """Sets the token itself, or nothing: otherwise a `.netrc` entry would replace it."""

    def __init__(self, token: str | None) -> None:
        if token and not (token.isascii() and token.isprintable()):
            raise UserError("The token holds characters that HTTP cannot carry; give it as it stands in API_TOKEN.")
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _checked_url(url: str) -> str:
    """`url` without a trailing slash; raises `UserError` when it is not an HTTP address."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise UserError(f"The server's address is {url!r}, but must look like {DEFAULT_URL}.")
    return url.rstrip("/")


def _sendable(actor: str) -> str:
    """A name as the server takes it: at most 64 printable ASCII characters."""
    return "".join(sign if sign.isascii() and sign.isprintable() else "?" for sign in actor)[:64]


def _refusal(url: str, response: requests.Response) -> str:
    """The server's own sentence, or what it answered instead of one."""
    try:
        problem = response.json()
    except requests.JSONDecodeError:
        problem = None
    text = (problem.get("detail") or problem.get("title")) if isinstance(problem, dict) else None
    if isinstance(text, str):
        return text
    answer = f"{response.status_code} {response.reason}"
    return f"{url} answered {answer}; check that this is the address of Leitstand's API."
