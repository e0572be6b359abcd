"""The Python client of the API, with which scripts, notebooks and the command line monitor and control a run.

    with Client("http://127.0.0.1:5050") as client:
        command = client.carry_out("validate", timeout_seconds=600)
        print(command["state"], client.record("latest")["quality_ki_value"])

It never imports the server. If the answer to a command is lost, the request is repeated with the same idempotency key,
so that one call never creates two commands. Downloaded files are written atomically.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, cast, overload
from uuid import uuid4

from service.api_types import (
    Acceptance,
    AlertList,
    CommandAnswer,
    RankList,
    SettingsAnswer,
)
from service.client.address import DEFAULT_URL
from service.client.artifacts import PAGE_SIZE
from service.client.connection import KEY_HEADER, path_part
from service.client.errors import (
    ApiError,
    BadAnswerError,
    ServerUnreachableError,
    UntrustedServerError,
    WaitTimeoutError,
)
from service.client.retry import MAX_OUTAGE_SECONDS
from service.client.runs import RunClient
from service.client.sse import STREAM_TIMEOUT_SECONDS, LiveEvent, follow
from service.commands import CommandState, Kind, command_route
from service.errors import ProblemExplanation

__all__ = [
    "DEFAULT_URL", "ApiError", "BadAnswerError", "Client", "LiveEvent", "ServerUnreachableError",
    "UntrustedServerError", "WaitTimeoutError", "is_final",
]  # fmt: skip

POLL_SECONDS = (0.05, 1.0)
"""First and longest pause between two requests for a command's state."""
MAX_WAIT_SECONDS = 30.0
"""Maximum time that the server is asked to delay its answer: shorter than the timeout of common proxies."""


class Client(RunClient):
    """One connection to an API server; use it as a context manager. Not safe to use from several threads.

    Every method raises `ApiError`, `ServerUnreachableError`, `UntrustedServerError` or `BadAnswerError`.
    """

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
        why: str | None = None,
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
        why: str | None = None,
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
        why: str | None = None,
    ) -> CommandAnswer | Acceptance:
        """Submit a command such as `validate`, `pause` or `set` (`service.commands.Kind`); returns the queued command.

        It is executed at `apply_at_step` instead of at once, and expires unless it starts within `expires_in` seconds.
        With `dry_run`, the request is checked, but nothing is queued. A later call with the same `idempotency_key`,
        even from another process, returns the command of the first call; without a key, every call creates a new
        command. With `if_match`, the settings must still have this ETag. `why` is the person's reason, kept with the
        command. Raises `ApiError` (422: invalid argument, 409: the run has ended, 412: the settings have changed, 503:
        no trainer).
        """
        query = {"apply_at_step": apply_at_step, "expires_in": expires_in, "dry_run": "true" if dry_run else None}
        key = "" if dry_run else idempotency_key or str(uuid4())
        answer = self._submit(kind, _with_why(arguments, why), query, key, if_match)
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
        why: str | None = None,
    ) -> CommandAnswer:
        """Submit a command like `submit` and wait for its end; returns it in its final state.

        Raises `WaitTimeoutError` if it has not ended after `timeout_seconds`, and the errors of `submit`.
        """
        started_at = time.monotonic()
        wait_seconds = min(timeout_seconds, MAX_WAIT_SECONDS)
        query = {"apply_at_step": apply_at_step, "expires_in": expires_in, "wait": f"{wait_seconds:.3f}"}
        key = idempotency_key or str(uuid4())
        answer = self._submit(kind, _with_why(arguments, why), query, key, if_match, wait_seconds)
        command = cast(CommandAnswer, answer)
        return command if is_final(command) else self._wait_until_final(command["id"], timeout_seconds, started_at)

    def settings(self) -> SettingsAnswer:
        """Return the effective settings, the changes during the run, and the settings that can be changed.

        Raises `ApiError` (503: no run).
        """
        return self.tagged_settings()[0]

    def tagged_settings(self) -> tuple[SettingsAnswer, str]:
        """Return the settings and their ETag, which `change_settings` takes as `if_match`."""
        response = self._send("GET", "/settings")
        return cast(SettingsAnswer, self._json_object(response)), response.headers.get("ETag", "")

    def change_settings(self, changes: Mapping[str, Any], *, if_match: str | None = None) -> CommandAnswer:
        """Submit a change of settings, such as {"LR_SCALE": 0.5}; returns the queued command.

        With `if_match`, the settings must still have this ETag. Raises `ApiError` (412: they have changed).
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
        """Yield the run's commands, newest first, or those of one kind, state or actor; requests pages as needed."""
        for page in self._pages("/commands", {"kind": kind, "state": state, "actor": actor, "limit": page_size}):
            yield from page["commands"]

    def command(self, command_id: str) -> CommandAnswer:
        """Return a command in its present state. Raises `ApiError` (404: not found)."""
        return cast(CommandAnswer, self._get_object(f"/commands/{path_part(command_id)}"))

    def cancel(self, command_id: str) -> CommandAnswer:
        """Cancel a queued command and return it. Raises `ApiError` (409: it has started or ended, 404: not found)."""
        answer = self._json_object(self._send("DELETE", f"/commands/{path_part(command_id)}"))
        return cast(CommandAnswer, answer)

    def wait(self, command_id: str, timeout_seconds: float) -> CommandAnswer:
        """Wait until a command has ended and return it; tolerates a restart of the server.

        Raises `WaitTimeoutError` if it has not ended after `timeout_seconds`.
        """
        return self._wait_until_final(command_id, timeout_seconds, time.monotonic())

    def ranks(self) -> RankList:
        """Return the activity of every rank: stage, step and ages in seconds. Raises `ApiError` (503: no run)."""
        return cast(RankList, self._get_object("/ranks"))

    def stack(self, rank: int) -> str:
        """Return the stack trace of a rank as text. Raises `ApiError` (404: no such rank, or no stack yet)."""
        return self._get_text(f"/ranks/{rank}/stack")

    def alerts(self) -> AlertList:
        """Return the alerts that are firing now."""
        return cast(AlertList, self._get_object("/alerts"))

    def events(self, kinds: Sequence[str] = (), *, last_event_id: str = "") -> Iterator[LiveEvent]:
        """Yield events as they happen, without end: `state`, `log`, `record`, `command`, `alert`, `event`, or `kinds`.

        In addition, a `run` event reports that the stream continues with another run, and a `gap` event that log points
        were skipped. The stream starts after the event `last_event_id`, or now. It is resumed without loss when the
        connection breaks or times out. Raises `UserError` if the server refuses or is unreachable for minutes.
        """
        extra_seconds = max(0.0, STREAM_TIMEOUT_SECONDS - self._timeout_seconds)
        query = {"kinds": ",".join(kinds) or None}
        return follow(self._request_sender("/events", query, "text/event-stream", extra_seconds), last_event_id)

    def metrics(self) -> str:
        """Return the metrics in Prometheus' text format."""
        return self._get_text("/metrics")

    def is_alive(self) -> bool:
        """Return True if the server's process answers."""
        return bool(self._get_object("/livez", server_wide=True).get("alive"))

    def is_ready(self) -> bool:
        """Return True if a command could be executed now."""
        try:
            return bool(self._get_object("/readyz", server_wide=True).get("ready"))
        except ApiError as error:
            if error.status != 503:
                raise
            return False

    def openapi(self) -> dict[str, Any]:
        """Return the server's OpenAPI document."""
        return self._get_object("/openapi.json", server_wide=True)

    def schema(self, name: str = "statistik") -> dict[str, Any]:
        """Return the JSON Schema of a record, or of an answer by its name in the OpenAPI document (`RecordList`)."""
        return self._get_object(f"/schema/{path_part(name)}.json", server_wide=True)

    def problem(self, slug: str) -> ProblemExplanation:
        """Return what a type of problem means, such as `no-trainer` (`ApiError.slug`). Raises `ApiError` (404)."""
        return cast(ProblemExplanation, self._get_object(f"/problems/{path_part(slug)}", server_wide=True))

    def _submit(
        self,
        kind: str,
        arguments: Mapping[str, Any] | None,
        query: Mapping[str, Any],
        key: str,
        if_match: str | None,
        extra_seconds: float = 0.0,
    ) -> dict[str, Any]:
        """Send one command and return the answer; repeats the request with the same key if an answer is lost."""
        method, path = command_route(path_part(kind))
        headers = {KEY_HEADER: key, "If-Match": if_match or ""}
        response = self._send(
            method, path, query, arguments, headers={name: value for name, value in headers.items() if value},
            extra_seconds=extra_seconds, has_no_effect=not key,
        )  # fmt: skip
        return self._json_object(response)

    def _wait_until_final(self, command_id: str, timeout_seconds: float, started_at: float) -> CommandAnswer:
        answered_at = time.monotonic()
        pause_seconds, max_pause_seconds = POLL_SECONDS
        while True:
            try:
                command = self.command(command_id)
                answered_at = time.monotonic()
                if is_final(command):
                    return command
            except (ServerUnreachableError, ApiError) as error:
                if not error.is_transient or time.monotonic() - answered_at > MAX_OUTAGE_SECONDS:
                    raise
            remaining_seconds = started_at + timeout_seconds - time.monotonic()
            if remaining_seconds <= 0:
                raise WaitTimeoutError(
                    f"Command {command_id} has not ended within {timeout_seconds:g} s; it goes on, wait longer for it."
                )
            time.sleep(min(pause_seconds, remaining_seconds))
            pause_seconds = min(2 * pause_seconds, max_pause_seconds)


def _with_why(arguments: Mapping[str, Any] | None, why: str | None) -> Mapping[str, Any] | None:
    return arguments if why is None else {**(arguments or {}), "why": why}


def is_final(command: CommandAnswer) -> bool:
    """Return True if the command's state cannot change any more; an unknown state counts as final."""
    return command["state"] not in {CommandState.QUEUED, CommandState.RUNNING}
