"""The Python client of the API: what a script, a notebook or the command line needs to watch and steer a run.

    with Client("http://127.0.0.1:5050") as client:
        command = client.carry_out("validate", timeout_seconds=600)
        print(command["state"], client.record("latest")["quality_ki_value"])

It never imports the server. A request whose answer is lost is sent again under the same key, so that one call never
makes two commands; a downloaded file is written whole or not at all.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, cast, overload
from uuid import uuid4

from service.api_types import Acceptance, AlertList, CommandAnswer, RankList, RunList, SettingsAnswer
from service.client.artifacts import PAGE_SIZE, ArtifactClient
from service.client.connection import DEFAULT_URL, KEY_HEADER, path_part
from service.client.errors import (
    ApiError,
    BadAnswerError,
    ServerUnreachableError,
    UntrustedServerError,
    WaitTimeoutError,
)
from service.client.retry import ABSENCE_SECONDS
from service.client.sse import HEARTBEAT_SECONDS, LiveEvent, follow
from service.commands import CommandState, Kind

__all__ = [
    "DEFAULT_URL", "ApiError", "BadAnswerError", "Client", "LiveEvent", "ServerUnreachableError",
    "UntrustedServerError", "WaitTimeoutError", "is_final",
]  # fmt: skip

POLL_SECONDS = (0.05, 1.0)
"""First and longest pause between two looks at a command."""
LONGEST_WAIT_SECONDS = 30.0
"""How long the server is asked to wait with its answer: less than a usual proxy's patience."""


class Client(ArtifactClient):
    """One connection to a control room; use it as a context manager. Not for use from several threads."""

    def runs(self) -> RunList:
        """The runs of this control room, the one that started last first."""
        return cast(RunList, self._get_object("/runs", room_wide=True))

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
        idempotency_key: str | None = None,
        if_match: str | None = None,
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
        if_match: str | None = None,
    ) -> Acceptance: ...

    def submit(
        self,
        kind: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        apply_at_step: int | None = None,
        expires_in: float | None = None,
        dry_run: bool = False,
        idempotency_key: str | None = None,
        if_match: str | None = None,
    ) -> CommandAnswer | Acceptance:
        """Ask for `validate`, `pause`, `set`... (`service.commands.Kind`); returns the queued command.

        It is carried out at `apply_at_step` rather than at once, and expires unless it begins within `expires_in`
        seconds. With `dry_run` all is checked and nothing queued. `idempotency_key` names this very command: another
        call with the same one, also from another process, returns the command of the first; without it each call has
        its own. Raises `ApiError` (422: an argument is not allowed, 409: the run has ended, 503: no trainer).
        """
        query = {"apply_at_step": apply_at_step, "expires_in": expires_in, "dry_run": "true" if dry_run else None}
        key = "" if dry_run else idempotency_key or str(uuid4())
        answer = self._ask_for(kind, arguments, query, key, if_match)
        return cast(Acceptance, answer) if dry_run else cast(CommandAnswer, answer)

    def carry_out(
        self,
        kind: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout_seconds: float,
        apply_at_step: int | None = None,
        expires_in: float | None = None,
        idempotency_key: str | None = None,
        if_match: str | None = None,
    ) -> CommandAnswer:
        """As `submit`, and wait for its end: the command once it is final. Raises `WaitTimeoutError` too."""
        started_at = time.monotonic()
        wait_seconds = min(timeout_seconds, LONGEST_WAIT_SECONDS)
        query = {"apply_at_step": apply_at_step, "expires_in": expires_in, "wait": f"{wait_seconds:.3f}"}
        answer = self._ask_for(kind, arguments, query, idempotency_key or str(uuid4()), if_match, wait_seconds)
        command = cast(CommandAnswer, answer)
        return command if is_final(command) else self._await_end(command["id"], timeout_seconds, started_at)

    def settings(self) -> SettingsAnswer:
        """The settings in force, what was changed while running, and what can be. Raises `ApiError` (503: no run)."""
        return self.tagged_settings()[0]

    def tagged_settings(self) -> tuple[SettingsAnswer, str]:
        """The settings, and their ETag for `change_settings(..., if_match=...)`."""
        response = self._send("GET", "/settings")
        return cast(SettingsAnswer, self._json_object(response)), response.headers.get("ETag", "")

    def change_settings(self, changes: Mapping[str, Any], *, if_match: str | None = None) -> CommandAnswer:
        """Ask for other values, such as {"LR_SCALE": 0.5}; returns the queued command.

        With `if_match` only where the settings are still those with this ETag. Raises `ApiError` (412: they are not).
        """
        return self.submit(Kind.SET, changes, if_match=if_match)

    def commands(
        self,
        *,
        kind: str | None = None,
        state: str | None = None,
        actor: str | None = None,
        page_size: int = PAGE_SIZE,
    ) -> Iterator[CommandAnswer]:
        """The run's commands, newest first, fetched as they are needed; of one kind, in one state, of one person."""
        for page in self._pages("/commands", {"kind": kind, "state": state, "actor": actor, "limit": page_size}):
            yield from page["commands"]

    def command(self, command_id: str) -> CommandAnswer:
        """The present state of a command. Raises `ApiError` (404: there is no such command)."""
        return cast(CommandAnswer, self._get_object(f"/commands/{path_part(command_id)}"))

    def cancel(self, command_id: str) -> CommandAnswer:
        """Take back a command that is queued. Raises `ApiError` (409: it has begun or ended, 404: there is none)."""
        answer = self._json_object(self._send("DELETE", f"/commands/{path_part(command_id)}"))
        return cast(CommandAnswer, answer)

    def wait(self, command_id: str, timeout_seconds: float) -> CommandAnswer:
        """The command once it is final. Raises `WaitTimeoutError`; survives a restart of the server."""
        return self._await_end(command_id, timeout_seconds, time.monotonic())

    def ranks(self) -> RankList:
        """What every rank is doing: `ranks`, each with its stage, step and ages. Raises `ApiError` (503: no run)."""
        return cast(RankList, self._get_object("/ranks"))

    def stack(self, rank: int) -> str:
        """Where in the program a rank is, as text. Raises `ApiError` (404: no such rank, or no stack yet)."""
        return self._get_text(f"/ranks/{rank}/stack")

    def alerts(self) -> AlertList:
        """The alerts that are on now."""
        return cast(AlertList, self._get_object("/alerts"))

    def events(self, kinds: Sequence[str] = (), *, last_event_id: str = "") -> Iterator[LiveEvent]:
        """What happens, as it happens, for ever: `state`, `log`, `record`, `command`, `alert`, `event`, or only some.

        Whatever is asked for, a `run` says that another run is followed from here on, a `gap` that log points are left
        out. Begins after the event `last_event_id`, without it now. Goes on where it was when the connection breaks off
        or falls silent. Raises `UserError` when the server refuses, or stays away for minutes.
        """
        silence_seconds = max(0.0, HEARTBEAT_SECONDS - self._timeout_seconds)
        asked = {"kinds": ",".join(kinds) or None}
        return follow(self._asking("/events", asked, "text/event-stream", silence_seconds), last_event_id)

    def metrics(self) -> str:
        """The metrics in Prometheus' text format."""
        return self._get_text("/metrics")

    def is_alive(self) -> bool:
        """Whether the server's process answers."""
        return bool(self._get_object("/livez", room_wide=True).get("alive"))

    def is_ready(self) -> bool:
        """Whether a command could be obeyed now."""
        try:
            return bool(self._get_object("/readyz", room_wide=True).get("ready"))
        except ApiError as error:
            if error.status != 503:
                raise
            return False

    def openapi(self) -> dict[str, Any]:
        """The server's OpenAPI document."""
        return self._get_object("/openapi.json", room_wide=True)

    def schema(self, name: str = "statistik") -> dict[str, Any]:
        """The JSON Schema of a record, or of an answer by its name in the OpenAPI document, such as `RecordList`."""
        return self._get_object(f"/schema/{path_part(name)}.json", room_wide=True)

    def _ask_for(
        self,
        kind: str,
        arguments: Mapping[str, Any] | None,
        query: Mapping[str, Any],
        key: str,
        if_match: str | None,
        silence_seconds: float = 0.0,
    ) -> dict[str, Any]:
        """The answer to one request for a command; sent again under its key where an answer is lost."""
        method, path = ("PATCH", "/settings") if kind == Kind.SET else ("POST", f"/{path_part(kind)}")
        given = {KEY_HEADER: key, "If-Match": if_match or ""}
        response = self._send(
            method, path, query, arguments, headers={name: value for name, value in given.items() if value},
            silence_seconds=silence_seconds, has_no_effect=not key,
        )  # fmt: skip
        return self._json_object(response)

    def _await_end(self, command_id: str, timeout_seconds: float, started_at: float) -> CommandAnswer:
        answered_at = time.monotonic()
        pause_seconds, longest = POLL_SECONDS
        while True:
            try:
                command = self.command(command_id)
                answered_at = time.monotonic()
                if is_final(command):
                    return command
            except (ServerUnreachableError, ApiError) as error:
                if not error.is_passing or time.monotonic() - answered_at > ABSENCE_SECONDS:
                    raise
            remaining_seconds = started_at + timeout_seconds - time.monotonic()
            if remaining_seconds <= 0:
                raise WaitTimeoutError(
                    f"Command {command_id} has not ended within {timeout_seconds:g} s; it goes on, wait longer for it."
                )
            time.sleep(min(pause_seconds, remaining_seconds))
            pause_seconds = min(2 * pause_seconds, longest)


def is_final(command: CommandAnswer) -> bool:
    """Whether nothing can change any more. A state that this client does not know counts as final."""
    return command["state"] not in {CommandState.QUEUED, CommandState.RUNNING}
