"""Accepts or rejects a command for a run, and queues it in the store."""

import time
from dataclasses import replace

from flask import request

from api.commands.request import CommandRequest
from api.http.problems import ProblemError
from api.runs.context import RunContext
from api.runs.settings_answer import has_perceptual, last_step, settings_of, settings_representation
from service.api_types import Acceptance
from service.commands import Command, CommandState, Kind
from service.errors import CommandError
from service.store.store import RunRow, Store

DRY_RUN_STATE = "accepted"
"""State in the answer of a dry run: none of a command, so that nobody waits for its end."""


def accept(context: RunContext, command_request: CommandRequest) -> tuple[Command, bool]:
    """Queue the requested command in the store, unless an earlier request with the same key did.

    Returns the command, and whether it is that of the earlier request. Raises `ProblemError` or `CommandError` if the
    command cannot be accepted, or `StoreUnavailableError`.
    """
    run = context.find_run()
    if run is not None and (earlier := _find_by_key(context.store, run.id, command_request)):
        return earlier, True  # even if the run has ended since
    run = accepting_run(context, command_request)
    with context.store.run_transaction(run.id):  # no other request may interleave
        if earlier := _find_by_key(context.store, run.id, command_request):
            return earlier, True
        # A trainer that ended meanwhile has rejected only what was queued before.
        _require_trainer(context, context.run())
        if command_request.kind is Kind.SET:
            require_unchanged(context.store, run.id)
        return _queue(context.store, run.id, command_request), False


def _find_by_key(store: Store, run_id: str, command_request: CommandRequest) -> Command | None:
    """Return the command of an earlier request with the same key, or None; raises `ProblemError` (key-reused)."""
    command = None if command_request.key is None else store.commands.get_by_key(run_id, command_request.key)
    return None if command is None else _as_repeated(command, command_request)


def _queue(store: Store, run_id: str, command_request: CommandRequest) -> Command:
    return store.commands.submit(
        run_id,
        command_request.kind,
        command_request.arguments,
        actor=command_request.actor,
        source=command_request.source,
        apply_at_step=command_request.apply_at_step,
        expires_at=expires_at(command_request, time.time()),
        idempotency_key=command_request.key,
        fingerprint=command_request.fingerprint,
        why=command_request.why,
    )


def _as_repeated(command: Command, command_request: CommandRequest) -> Command:
    """Return an earlier command as the answer to a repeated request: its current state with `wait`, else as accepted.

    Raises `ProblemError` (key-reused) if the earlier request was a different one.
    """
    if command.fingerprint != command_request.fingerprint:
        raise ProblemError(
            "key-reused",
            f"The Idempotency-Key {command_request.key!r} was used before for another request, which became the "
            f"{command.kind} command {command.id}; take a new key for each request.",
        )
    if command_request.wait > 0:
        return command
    return replace(
        command, state=CommandState.QUEUED, started_at=None, finished_at=None, step=None, result=None, reason=None
    )


def accepting_run(context: RunContext, command_request: CommandRequest) -> RunRow:
    """Return the run if its trainer is alive and can execute the command; raises `ProblemError` or `CommandError`."""
    run = context.run()
    _require_trainer(context, run)
    _require_executable(context, run, command_request)
    return run


def _require_trainer(context: RunContext, run: RunRow) -> None:
    now = context.now(run)
    state = run.reported_state(now)
    if state.has_ended:
        raise ProblemError("run-ended", f"The run has ended ({state}); start one with `leitstand up`.")
    if not state.has_trainer:
        silent_seconds = now - run.heartbeat_at
        raise ProblemError(
            "no-trainer", f"The trainer has shown no sign of life for {silent_seconds:.0f} s; look at training.log."
        )


def _require_executable(context: RunContext, run: RunRow, command_request: CommandRequest) -> None:
    """Reject what the run's current state rules out; the trainer checks again when it executes the command."""
    if command_request.apply_at_step is not None:
        _require_reachable(context.store, run, command_request.apply_at_step)
    if command_request.kind is Kind.SET:
        require_unchanged(context.store, run.id)
        step = max(run.step, command_request.apply_at_step or 0)
        try:
            settings_of(run).with_changes(command_request.arguments, step=step, has_perceptual=has_perceptual(run))
        except CommandError as error:
            raise error.renamed(command_request.given_names) from None
    if command_request.kind is Kind.ROLLBACK:
        _require_checkpoint(context, command_request.arguments["checkpoint"])


def _require_reachable(store: Store, run: RunRow, step: int) -> None:
    """Check that the run will come to a step; raises `ProblemError` (invalid-argument)."""
    if step <= run.step:
        raise _wrong_step(f"apply_at_step is {step}, but the run is at step {run.step} already.")
    last = last_step(store, run)
    if last is not None and step > last:
        raise _wrong_step(
            f"apply_at_step is {step}, but the run ends at MAX_STEPS, which is {last}; raise MAX_STEPS before."
        )


def _wrong_step(text: str) -> ProblemError:
    return ProblemError("invalid-argument", text, errors=[{"parameter": "apply_at_step", "detail": text}])


def _require_checkpoint(context: RunContext, name_or_step: str) -> None:
    if context.cached_directory is None:
        return
    saved = context.cached_directory.checkpoints
    try:
        checkpoint, names = saved.find(name_or_step), saved.names()
    except OSError as error:
        raise ProblemError(
            "storage-unavailable", f"The checkpoints cannot be read ({error.strerror}); try again."
        ) from None
    if checkpoint is None:
        advice = f"there are: {', '.join(names)}" if names else "none was saved yet, ask for one with /checkpoint"
        text = f"There is no checkpoint {name_or_step}; {advice}."
        raise ProblemError("invalid-argument", text, errors=[{"pointer": "#/checkpoint", "detail": text}])


def dry_run_answer(run: RunRow, command_request: CommandRequest) -> Acceptance:
    """Return the answer of a dry run: what would be queued, in the shape of a command."""
    now = time.time()
    return {
        "accepted": True,
        "id": "",
        "run_id": run.id,
        "kind": command_request.kind.value,
        "state": DRY_RUN_STATE,
        "actor": command_request.actor,
        "source": command_request.source,
        "created_at": now,
        "apply_at_step": command_request.apply_at_step,
        "expires_at": expires_at(command_request, now),
        "expires_in": command_request.expires_in,
        "started_at": None,
        "finished_at": None,
        "step": run.step,
        "arguments": command_request.arguments,
        "result": None,
        "reason": None,
        "why": command_request.why,
        "problem": None,
    }


def expires_at(command_request: CommandRequest, now: float) -> float | None:
    """Return when a command accepted at `now` expires, both in Unix seconds; None if it never does."""
    return None if command_request.expires_in is None else now + command_request.expires_in


def require_unchanged(store: Store, run_id: str) -> None:
    """Check the current request's If-Match, if any; raises `ProblemError` (precondition-failed)."""
    if "If-Match" not in request.headers or request.if_match.star_tag:
        return
    current = settings_representation(store, run_id)
    if not request.if_match.contains(current.sha256):
        raise ProblemError(
            "precondition-failed",
            "The settings are not those with the ETag in If-Match, or are about to change; look at them again.",
            {"ETag": f'"{current.sha256}"'},
        )
