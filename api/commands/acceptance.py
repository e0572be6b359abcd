"""Whether the API accepts a command for a run, and the queued row that results."""

import time
from dataclasses import replace

from flask import request

from api.commands.request import CommandRequest
from api.http.problems import ProblemError
from api.runs.context import RunContext
from api.runs.settings import has_perceptual, settings_of, settings_representation
from service.api_types import Acceptance
from service.commands import Command, CommandState, Kind
from service.store.store import RunRow, Store


def accept(reader: RunContext, asked: CommandRequest) -> tuple[Command, bool]:
    """The command, durable, and whether it is that of an earlier request with the same key."""
    known = reader.find_run()
    if known is not None and (earlier := _of_key(reader.store, known.id, asked)):
        return earlier, True  # also of a run that has ended since
    run = willing_run(reader, asked)
    with reader.store.run_transaction(run.id):  # nobody else's request comes in between
        if earlier := _of_key(reader.store, run.id, asked):
            return earlier, True
        _require_trainer(reader.run())  # who ended in the meantime has rejected what was queued by then
        if asked.kind is Kind.SET:
            require_unchanged(reader.store, run.id)
        return _queue(reader.store, run.id, asked), False


def _of_key(store: Store, run_id: str, asked: CommandRequest) -> Command | None:
    """What an earlier request with the same key became, for this one; raises `ProblemError` (key-reused)."""
    command = None if asked.key is None else store.command_by_key(run_id, asked.key)
    return None if command is None else _replayed(command, asked)


def _queue(store: Store, run_id: str, asked: CommandRequest) -> Command:
    return store.submit(
        run_id,
        asked.kind,
        asked.arguments,
        actor=asked.actor,
        source=asked.source,
        apply_at_step=asked.apply_at_step,
        expires_at=None if asked.expires_in is None else time.time() + asked.expires_in,
        idempotency_key=asked.key,
        fingerprint=asked.fingerprint,
    )


def _replayed(command: Command, asked: CommandRequest) -> Command:
    """An earlier command for this request: as it was accepted, or who waits gets it as it stands."""
    if command.fingerprint != asked.fingerprint:
        raise ProblemError(
            "key-reused",
            f"The Idempotency-Key {asked.key!r} was used before for another request, which became the {command.kind} "
            f"command {command.id}; take a new key for each request.",
        )
    if asked.wait > 0:
        return command
    return replace(
        command, state=CommandState.QUEUED, started_at=None, finished_at=None, step=None, result=None, reason=None
    )


def willing_run(reader: RunContext, asked: CommandRequest) -> RunRow:
    """The run, if its trainer is alive and can obey; raises `ProblemError` or `CommandError`."""
    run = reader.run()
    _require_trainer(run)
    _require_possible(reader, run, asked)
    return run


def _require_trainer(run: RunRow) -> None:
    state = run.reported_state(time.time())
    if state.has_ended:
        raise ProblemError("run-ended", f"The run has ended ({state}); start one with `leitstand up`.")
    if not state.has_trainer:
        silent_seconds = time.time() - run.heartbeat_at
        raise ProblemError(
            "no-trainer", f"The trainer has shown no sign of life for {silent_seconds:.0f} s; look at training.log."
        )


def _require_possible(reader: RunContext, run: RunRow, asked: CommandRequest) -> None:
    """Refuse what the run's present state rules out; the trainer checks again when it carries the command out."""
    if asked.apply_at_step is not None and asked.apply_at_step <= run.step:
        raise ProblemError(
            "invalid-argument", f"apply_at_step is {asked.apply_at_step}, but the run is at step {run.step} already."
        )
    if asked.kind is Kind.SET:
        require_unchanged(reader.store, run.id)
        step = max(run.step, asked.apply_at_step or 0)
        settings_of(run).changed(asked.arguments, step=step, has_perceptual=has_perceptual(run))
    if asked.kind is Kind.ROLLBACK:
        _require_checkpoint(reader, asked.arguments["checkpoint"])


def _require_checkpoint(reader: RunContext, wanted: str) -> None:
    if reader.place is None:
        return
    saved = reader.place.saved_states
    try:
        found, names = saved.find(wanted), saved.names()
    except OSError as error:
        raise ProblemError(
            "storage-unavailable", f"The checkpoints cannot be read ({error.strerror}); try again."
        ) from None
    if found is None:
        advice = f"there are: {', '.join(names)}" if names else "none was saved yet, ask for one with /checkpoint"
        raise ProblemError("invalid-argument", f"There is no checkpoint {wanted}; {advice}.")


def dry_run_answer(run: RunRow, asked: CommandRequest) -> Acceptance:
    """Say what would be queued."""
    return {
        "accepted": True,
        "run_id": run.id,
        "step": run.step,
        "kind": asked.kind.value,
        "arguments": asked.arguments,
        "apply_at_step": asked.apply_at_step,
        "expires_in": asked.expires_in,
    }


def require_unchanged(store: Store, run_id: str) -> None:
    """Check the present request's If-Match, if it has one; raises `ProblemError` (precondition-failed)."""
    if "If-Match" not in request.headers or request.if_match.star_tag:
        return
    present = settings_representation(store, run_id)
    if not request.if_match.contains(present.sha256):
        raise ProblemError(
            "precondition-failed",
            "The settings are not those with the ETag in If-Match, or are about to change; look at them again.",
            {"ETag": f'"{present.sha256}"'},
        )
