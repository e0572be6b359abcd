"""The Python client of the API: what a script, a notebook or the command line needs to watch and steer a run.

    with Client("http://127.0.0.1:5050") as client:
        command = client.submit("validate")
        print(client.wait(command["id"], timeout_seconds=600)["state"])

It never imports the server, never sends a command twice, and writes a downloaded file whole or not at all.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast, overload
from urllib.parse import quote

import requests

from service.answers import Acceptance, CommandAnswer, RecordList, Series, SettingsAnswer
from service.commands import CommandState, Kind
from service.connection import DEFAULT_URL, ApiError, Connection, ServerUnreachableError
from service.errors import UserError
from service.files import write_whole
from service.record import record_step

__all__ = ["DEFAULT_URL", "ApiError", "Client", "ServerUnreachableError", "WaitTimeoutError", "is_final"]

POLL_SECONDS = (0.05, 1.0)
"""First and longest pause between two looks at a command."""
ABSENCE_SECONDS = 15.0
"""How long the server may be away while a command is awaited: the launcher restarts an API that died."""


class WaitTimeoutError(UserError):
    """A command did not end within the time allowed; it goes on."""

    exit_code = 124


class Client(Connection):
    """One connection to a control room; use it as a context manager. Not for use from several threads."""

    def state(self) -> dict[str, Any]:
        """The live snapshot: the record's keys, `run_state`, `age_seconds`... Raises `ApiError` (503: no run)."""
        return self._get_object("/state")

    @overload
    def submit(
        self,
        kind: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        apply_at_step: int | None = None,
        expires_in: float | None = None,
        dry_run: Literal[False] = False,
    ) -> CommandAnswer: ...

    @overload
    def submit(
        self,
        kind: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        apply_at_step: int | None = None,
        expires_in: float | None = None,
        dry_run: Literal[True],
    ) -> Acceptance: ...

    def submit(
        self,
        kind: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        apply_at_step: int | None = None,
        expires_in: float | None = None,
        dry_run: bool = False,
    ) -> CommandAnswer | Acceptance:
        """Ask for `validate`, `pause`, `set`... (`service.commands.Kind`); returns the queued command.

        It is carried out at `apply_at_step` rather than at once, and expires unless it begins within `expires_in`
        seconds. With `dry_run` all is checked and nothing queued. Sent once, never again by itself. Raises `ApiError`
        (422: an argument is not allowed, 409: the run has ended, 503: no trainer).
        """
        method, path = ("PATCH", "/settings") if kind == Kind.SET else ("POST", f"/{quote(kind, safe='')}")
        conditions = {"apply_at_step": apply_at_step, "expires_in": expires_in, "dry_run": "true" if dry_run else None}
        answer = self._json_object(self._send(method, path, conditions, arguments))
        return cast(Acceptance, answer) if dry_run else cast(CommandAnswer, answer)

    def settings(self) -> SettingsAnswer:
        """The settings in force, what was changed while running, and what can be. Raises `ApiError` (503: no run)."""
        return cast(SettingsAnswer, self._get_object("/settings"))

    def change_settings(self, changes: Mapping[str, Any]) -> CommandAnswer:
        """Ask for other values, such as {"LR_SCALE": 0.5}; returns the queued command. Raises `ApiError`."""
        return self.submit(Kind.SET, changes)

    def cancel(self, command_id: str) -> CommandAnswer:
        """Take back a command that is queued. Raises `ApiError` (409: it has begun or ended, 404: there is none)."""
        answer = self._json_object(self._send("DELETE", f"/commands/{quote(command_id, safe='')}"))
        return cast(CommandAnswer, answer)

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

    def ranks(self) -> dict[str, Any]:
        """What every rank is doing: `ranks`, each with its stage, step and ages. Raises `ApiError` (503: no run)."""
        return self._get_object("/ranks")

    def stack(self, rank: int) -> str:
        """Where in the program a rank is, as text. Raises `ApiError` (404: no such rank, or no stack yet)."""
        return self._send("GET", f"/ranks/{rank}/stack").text

    def series(self, names: Sequence[str] = (), first_step: int | None = None, last_step: int | None = None) -> Series:
        """Log points between two steps, both included; without names, of all values there are."""
        asked = {"names": ",".join(names) or None, "from": first_step, "to": last_step}
        return cast(Series, self._get_object("/series", asked))


def is_final(command: CommandAnswer) -> bool:
    """Whether nothing can change any more. A state that this client does not know counts as final."""
    return command["state"] not in {CommandState.QUEUED, CommandState.RUNNING}


def _saved_name(name: str, response: requests.Response) -> str:
    """The file name to save under: `name`, or for `latest` the one that the server gives; never a path."""
    _, found, offered = response.headers.get("Content-Disposition", "").partition("filename=")
    for candidate in (name, offered.split(";")[0].strip('" ') if found else ""):
        if record_step(candidate) is not None:
            return candidate
    raise ApiError(f"The server sent no name of a record for {name!r}; check its version.", 502)
