"""`POST /validate`, …, `PATCH /settings`: ask something of the running training; `/commands`: what came of it.

A request only queues a command and answers 202; it waits for the trainer only where it says `wait`. Whoever lost an
answer asks again under the same Idempotency-Key, and is answered as the first time, whatever happened since.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import cast

from flask import Blueprint, Response, jsonify, url_for

from api.bodies import body_of
from api.contract import Answer, Scope, operation
from api.live_settings import has_perceptual, require_unchanged, settings_of
from api.paging import Cursor, cursor_text, next_link
from api.parameters import Choice, InPath, Text, WholeNumber
from api.problems import ProblemError
from api.reader import Reader, current_reader, named_run
from api.room import current_room
from api.submission import ACTOR, IF_MATCH, PARAMETERS, SOURCE, Submission, actor, source
from api.waiting import await_end
from service.answers import Acceptance, CommandAnswer, CommandList
from service.commands import Command, CommandState, Kind
from service.store import RunRow, Store

RETRY_SECONDS = 1
SUMMARIES = {
    Kind.VALIDATE: "Queue one validation with its record, also while paused.",
    Kind.PAUSE: "Queue a pause; asking twice changes nothing.",
    Kind.RESUME: "Queue the end of a pause; asking twice changes nothing.",
    Kind.CHECKPOINT: "Queue a checkpoint.",
    Kind.STOP: "Queue the end of the run: finish the step, save a checkpoint, leave.",
    Kind.SET: "Queue a change of settings, taken as a whole or not at all.",
    Kind.ROLLBACK: "Queue a return to a checkpoint, to go on from there.",
}
KIND = Choice("kind", "only of this kind", [kind.value for kind in Kind])
STATE = Choice("state", "only in this state", [state.value for state in CommandState])
WHOSE = Text(
    "actor", "only of this `actor`, with `@` and the address or without",
    ".{1,200}", "an actor as commands show it",
)  # fmt: skip
LIMIT = WholeNumber("limit", "entries on a page", default=100, minimum=1, maximum=1000)
CURSOR = Cursor()

COMMAND_ID = InPath("command_id", "a command's id", {"type": "string", "pattern": "^[0-9a-f]{32}$"})

LOCATION = {"Location": "where to look at it"}
REPLAYED = {"Idempotency-Replayed": "`true` where the command is that of an earlier request with the same key"}
ACCEPTED = Answer(
    CommandAnswer, "accepted and on disk, not done", 202,
    headers={**LOCATION, "Retry-After": "seconds until it is worth a look"}, optional_headers=REPLAYED,
)  # fmt: skip
ENDED = Answer(
    CommandAnswer | Acceptance, "with `wait`: the command, ended; with `dry_run`: what would be queued",
    optional_headers={**LOCATION, **REPLAYED},
)  # fmt: skip
REFUSALS = (
    "not-json", "unsupported-media-type", "body-too-large", "invalid-argument", "key-reused", "run-ended", "no-run",
    "no-trainer", "storage-unavailable",
)  # fmt: skip

View = Callable[[], Response]

blueprint = Blueprint("controls", __name__)


def submit(kind: Kind) -> Response:
    """Queue a command for the running training, or say that it would be."""
    reader, asked = current_reader(), Submission.of_request(kind)
    if asked.dry_run:
        with reader.together():
            return jsonify(_acceptance(_willing_run(reader, asked), asked))
    with reader.together():
        command, is_replayed = _accept(reader, asked)
    response = _answer(await_end(reader.store, command, asked.wait))
    if is_replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response


def _view(kind: Kind) -> View:
    """The view of one kind of command, with its contract."""
    conditions, refusals = ((IF_MATCH,), ("precondition-failed",)) if kind is Kind.SET else ((), ())

    @operation(
        Scope.CONTROL, *PARAMETERS, *conditions,
        answers=[ACCEPTED, ENDED], problems=[*REFUSALS, *refusals], body=body_of(kind),
    )  # fmt: skip
    def view() -> Response:
        return submit(kind)

    view.__doc__ = SUMMARIES[kind]
    return view


for _kind in Kind:
    _path, _method = ("/settings", "PATCH") if _kind is Kind.SET else (f"/{_kind}", "POST")
    blueprint.add_url_rule(_path, _kind.value, _view(_kind), methods=[_method])


@blueprint.get("/commands")
@operation(
    Scope.READ, KIND, STATE, WHOSE, LIMIT, CURSOR,
    answers=[Answer(CommandList, "a page of the list", optional_headers={"Link": "the next page, `rel=next`"})],
    problems=["invalid-argument", "no-run", "storage-unavailable"],
)  # fmt: skip
def list_newest() -> Response:
    """List the run's commands, newest first: who asked for what, when and from where, and what came of it."""
    reader = current_reader()
    kind, state, cursor = KIND.value(), STATE.value(), CURSOR.value()
    commands, before = reader.store.commands_page(
        reader.run().id,
        kind=None if kind is None else Kind(kind),
        state=None if state is None else CommandState(state),
        actor=WHOSE.value(),
        before=None if cursor is None else cursor[0],
        limit=LIMIT.value(),
    )
    following = None if before is None else cursor_text((before, ""))
    page: CommandList = {"commands": [_shown(command) for command in commands], "next_cursor": following}
    response = jsonify(page)
    if following is not None:
        response.headers["Link"] = next_link(following)
    return response


@blueprint.get("/commands/<command_id>")
@operation(
    Scope.READ, COMMAND_ID, answers=[Answer(CommandAnswer, "the command")],
    problems=["not-found", "storage-unavailable"],
)  # fmt: skip
def show(command_id: str) -> CommandAnswer:
    """Show one command."""
    return _shown(_find(command_id)[1])


@blueprint.delete("/commands/<command_id>")
@operation(
    Scope.CONTROL, COMMAND_ID, ACTOR, SOURCE,
    answers=[Answer(CommandAnswer, "the command, now cancelled, or cancelled before")],
    problems=["not-found", "command-begun", "invalid-argument", "storage-unavailable"],
)  # fmt: skip
def cancel(command_id: str) -> CommandAnswer:
    """Take back a command that is still queued; asking twice changes nothing."""
    store, command = _find(command_id)
    store.cancel_command(command_id, f"cancelled by {actor()} ({source()})")
    command = store.command(command_id) or command
    if command.state is not CommandState.CANCELLED:
        raise ProblemError(
            "command-begun", f"Command {command_id} is {command.state}; only one that is queued can be cancelled."
        )
    return _shown(command)


def _find(command_id: str) -> tuple[Store, Command]:
    """A command of the run in the path, or of any run where the path names none; the default one may have changed."""
    reader, wanted = current_reader(), named_run()
    command = reader.store.command(command_id) if reader.store.exists() else None
    if command is not None and wanted in {None, command.run_id}:
        return reader.store, command
    found = current_room().command(command_id) if wanted is None else None
    if found is None:
        raise ProblemError("not-found", f"There is no command {command_id!r}; /commands lists the latest.")
    return found


def _accept(reader: Reader, asked: Submission) -> tuple[Command, bool]:
    """The command, durable, and whether it is that of an earlier request with the same key."""
    known = reader.find_run()
    if known is not None and (earlier := _of_key(reader.store, known.id, asked)):
        return earlier, True  # also of a run that has ended since
    run = _willing_run(reader, asked)
    with reader.store.turn(run.id):  # nobody else's request comes in between
        if earlier := _of_key(reader.store, run.id, asked):
            return earlier, True
        _require_trainer(reader.run())  # who ended in the meantime has rejected what was queued by then
        if asked.kind is Kind.SET:
            require_unchanged(reader.store, run.id)
        return _queue(reader.store, run.id, asked), False


def _of_key(store: Store, run_id: str, asked: Submission) -> Command | None:
    """What an earlier request with the same key became, for this one; raises `ProblemError` (key-reused)."""
    command = None if asked.key is None else store.command_by_key(run_id, asked.key)
    return None if command is None else _replayed(command, asked)


def _queue(store: Store, run_id: str, asked: Submission) -> Command:
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


def _replayed(command: Command, asked: Submission) -> Command:
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


def _willing_run(reader: Reader, asked: Submission) -> RunRow:
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


def _require_possible(reader: Reader, run: RunRow, asked: Submission) -> None:
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


def _acceptance(run: RunRow, asked: Submission) -> Acceptance:
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
        response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response


def _shown(command: Command) -> CommandAnswer:
    return cast(CommandAnswer, command.as_dict())
