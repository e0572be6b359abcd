"""The Python client of the API: what a script, a notebook or the command line needs to watch and steer a run.

    with Client("http://127.0.0.1:5050") as client:
        command = client.submit("validate")
        print(client.wait(command["id"], timeout_seconds=600)["state"])

It never imports the server, never sends a command twice, and writes a downloaded file whole or not at all.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import quote, urlsplit

import requests
from requests.auth import AuthBase

from service.answers import CommandAnswer, RecordList, Series
from service.commands import CommandState
from service.errors import UserError
from service.files import write_whole
from service.record import record_step

DEFAULT_URL = "http://127.0.0.1:5050"
TIMEOUT_SECONDS = 10.0
GET_PAUSES_SECONDS = (0.1, 0.4, 0.0)
"""Pauses after each unsuccessful GET; after the last there is no further attempt."""
POLL_SECONDS = (0.05, 1.0)
"""First and longest pause between two looks at a command."""
ABSENCE_SECONDS = 15.0
"""How long the server may be away while a command is awaited: the launcher restarts an API that died."""

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


class WaitTimeoutError(UserError):
    """A command did not end within the time allowed; it goes on."""

    exit_code = 124


class Client:
    """One connection to a control room; use it as a context manager. Not for use from several threads.

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

    def state(self) -> dict[str, Any]:
        """The live snapshot: the record's keys, `run_state`, `age_seconds`... Raises `ApiError` (503: no run)."""
        return self._get_object("/state")

    def submit(self, kind: str) -> CommandAnswer:
        """Ask for `validate`, `pause`, `resume`, `checkpoint` or `stop`; returns the queued command.

        Sent once, never again by itself. Raises `ApiError` (409: the run has ended, 503: no trainer).
        """
        response = self._send("POST", f"/{quote(kind, safe='')}")
        return cast(CommandAnswer, self._json_object(response))

    def command(self, command_id: str) -> CommandAnswer:
        """The present state of a command. Raises `ApiError` (404: there is no such command)."""
        return cast(CommandAnswer, self._get_object(f"/commands/{quote(command_id, safe='')}"))

    def wait(self, command_id: str, timeout_seconds: float) -> CommandAnswer:
        """The command once it is final. Raises `WaitTimeoutError`; survives a restart of the server."""
        started_at = answered_at = time.monotonic()
        pause_seconds, longest = POLL_SECONDS
        while True:
            try:
                command = self.command(command_id)
                answered_at = time.monotonic()
                if is_final(command):
                    return command
            except ServerUnreachableError:
                if time.monotonic() - answered_at > ABSENCE_SECONDS:
                    raise
            remaining_seconds = started_at + timeout_seconds - time.monotonic()
            if remaining_seconds <= 0:
                raise WaitTimeoutError(
                    f"Command {command_id} has not ended within {timeout_seconds:g} s; it goes on, wait longer for it."
                )
            time.sleep(min(pause_seconds, remaining_seconds))
            pause_seconds = min(2 * pause_seconds, longest)

    def statistics(self) -> RecordList:
        """All saved records, in the order of their steps."""
        return cast(RecordList, self._get_object("/statistics"))

    def download(self, name: str, folder: Path) -> Path:
        """Save a record (`Statistik_500.json`, or `latest`) in `folder`, byte for byte; returns its path.

        The bytes are checked against the server's sha256. Raises `ApiError` or `OSError`, and then leaves no file.
        """
        response = self._send("GET", f"/statistics/{quote(name, safe='')}")
        content = response.content
        saved_name = _saved_name(name, response)
        promised = response.headers.get("ETag", "").strip('"')
        if promised != hashlib.sha256(content).hexdigest():
            raise ApiError(f"{saved_name} arrived damaged (its sha256 is not {promised!r}); try again.", 502)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / saved_name
        write_whole(path, content)
        return path

    def series(self, names: Sequence[str] = (), first_step: int | None = None, last_step: int | None = None) -> Series:
        """Log points between two steps, both included; without names, of all values there are."""
        asked = {"names": ",".join(names) or None, "from": first_step, "to": last_step}
        return cast(Series, self._get_object("/series", asked))

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

    def _send(self, method: str, path: str, query: Mapping[str, Any] | None = None) -> requests.Response:
        """The answer to one request; a GET is tried again when the connection fails, nothing else ever is."""
        for pause_seconds in GET_PAUSES_SECONDS if method == "GET" else (0.0,):
            try:
                response = self._session.request(
                    method, self._url + path, params=query, timeout=self._timeout_seconds, allow_redirects=False
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


def is_final(command: CommandAnswer) -> bool:
    """Whether nothing can change any more. A state that this client does not know counts as final."""
    return command["state"] not in {CommandState.QUEUED, CommandState.RUNNING}


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


def _saved_name(name: str, response: requests.Response) -> str:
    """The file name to save under: `name`, or for `latest` the one that the server gives; never a path."""
    _, found, offered = response.headers.get("Content-Disposition", "").partition("filename=")
    for candidate in (name, offered.split(";")[0].strip('" ') if found else ""):
        if record_step(candidate) is not None:
            return candidate
    raise ApiError(f"The server sent no name of a record for {name!r}; check its version.", 502)


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
