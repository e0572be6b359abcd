"""`POST /validate`, …, `PATCH /settings`: ask something of the running training; `/commands`: what came of it.

A request only queues a command and answers 202; it waits for the trainer only where it says `wait`.
"""

import time
from typing import Any

from flask import Blueprint, Response, jsonify, url_for

from api.arguments import whole_number
from api.live_settings import has_perceptual, settings_of
from api.problems import ProblemError
from api.reader import Reader, current_reader
from api.submission import Submission, actor
from api.waiting import await_end
from service.commands import Command, Kind
from service.store import RunRow

MOST_COMMANDS = 1000

blueprint = Blueprint("controls", __name__)


def submit(kind: str) -> Response:
    """Queue a command for the running training, or say that it would be."""
    reader = current_reader()
    asked = Submission.of_request(Kind(kind))
    run = _steerable_run(reader)
    _require_possible(reader, run, asked)
    if asked.dry_run:
        return jsonify(_acceptance(run, asked))
    expires_at = None if asked.expires_in is None else time.time() + asked.expires_in
    command = reader.store.submit(
        run.id, asked.kind, asked.arguments, actor=asked.actor, source=asked.source,
        apply_at_step=asked.apply_at_step, expires_at=expires_at,
    )  # fmt: skip
    return _answer(await_end(reader.store, command, asked.wait))


for _kind in Kind:
    _path, _method = ("/settings", "PATCH") if _kind is Kind.SET else (f"/{_kind}", "POST")
    blueprint.add_url_rule(_path, view_func=submit, methods=[_method], defaults={"kind": _kind.value})


@blueprint.get("/commands")
def list_newest() -> dict[str, Any]:
    """The run's commands, newest first."""
    reader = current_reader()
    limit = whole_number("limit", default=100, minimum=1, maximum=MOST_COMMANDS)
    commands = reader.store.commands(reader.run().id, limit=limit)
    return {"commands": [command.as_dict() for command in reversed(commands)]}


@blueprint.get("/commands/<command_id>")
def show(command_id: str) -> dict[str, Any]:
    """One command."""
    return _find(current_reader(), command_id).as_dict()


@blueprint.delete("/commands/<command_id>")
def cancel(command_id: str) -> dict[str, Any]:
    """Take back a command that is still queued."""
    reader = current_reader()
    who = actor()
    _find(reader, command_id)
    is_cancelled = reader.store.cancel_command(command_id, f"cancelled by {who}")
    command = _find(reader, command_id)
    if not is_cancelled:
        raise ProblemError(
            "command-begun", f"Command {command_id} is {command.state}; only one that is queued can be cancelled."
        )
    return command.as_dict()


def _find(reader: Reader, command_id: str) -> Command:
    command = reader.store.command(command_id) if reader.find_run() else None
    if command is None:
        raise ProblemError("not-found", f"There is no command {command_id!r}; /commands lists the latest.")
    return command


def _steerable_run(reader: Reader) -> RunRow:
    """The current run, if a trainer is alive to obey."""
    run = reader.run()
    state = run.reported_state(time.time())
    if state.has_ended:
        raise ProblemError("run-ended", f"The run has ended ({state}); start one with `leitstand up`.")
    if not state.has_trainer:
        silent_seconds = time.time() - run.heartbeat_at
        raise ProblemError(
            "no-trainer", f"The trainer has shown no sign of life for {silent_seconds:.0f} s; look at training.log."
        )
    return run


def _require_possible(reader: Reader, run: RunRow, asked: Submission) -> None:
    """Refuse what the run's present state rules out; the trainer checks again when it carries the command out."""
    if asked.apply_at_step is not None and asked.apply_at_step <= run.step:
        raise ProblemError(
            "invalid-argument", f"apply_at_step is {asked.apply_at_step}, but the run is at step {run.step} already."
        )
    if asked.kind is Kind.SET:
        step = max(run.step, asked.apply_at_step or 0)
        settings_of(run).changed(asked.arguments, step=step, has_perceptual=has_perceptual(run))
    if asked.kind is Kind.ROLLBACK:
        _require_checkpoint(reader, asked.arguments["checkpoint"])


def _require_checkpoint(reader: Reader, wanted: str) -> None:
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


def _acceptance(run: RunRow, asked: Submission) -> dict[str, Any]:
    return {
        "accepted": True,
        "run_id": run.id,
        "step": run.step,
        "kind": asked.kind.value,
        "arguments": asked.arguments,
        "apply_at_step": asked.apply_at_step,
        "expires_in": asked.expires_in,
    }


def _answer(command: Command) -> Response:
    """200 with a command that has ended, else 202 with where it stands and where to look again."""
    response = jsonify(command.as_dict())
    response.headers["Location"] = url_for(".show", command_id=command.id)
    if not command.state.is_final:
        response.status_code = 202
        response.headers["Retry-After"] = "1"
    return response
