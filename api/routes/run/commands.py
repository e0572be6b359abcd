"""`POST /validate`, …, `PATCH /settings`: ask something of the running training; `/commands`: what came of it.

A request only queues a command and is answered with 202; it waits for the trainer only with `wait`. A client that lost
a response repeats the request with the same Idempotency-Key and receives the same answer, whatever happened since.
"""

from collections.abc import Callable
from typing import cast

from flask import Blueprint, Response, jsonify, url_for

from api.commands.acceptance import accept, accepting_run, dry_run_answer
from api.commands.body_schemas import body_of
from api.commands.preferences import declare_applied
from api.commands.request import ACTOR, IF_MATCH, PARAMETERS, SOURCE, CommandRequest, actor, source
from api.commands.wait import wait_until_final
from api.http.operation import Answer, Scope, operation
from api.http.pagination import Cursor, cursor_text, next_link
from api.http.parameters import Choice, PathParameter, PatternText, WholeNumber
from api.http.problems import ProblemError, problem_of_command
from api.runs.context import current_run_context, named_run
from api.runs.registry import current_registry
from service.api_types import Acceptance, CommandAnswer, CommandList
from service.commands import Command, CommandState, Kind, command_route
from service.store.store import Store

RETRY_SECONDS = 1
SUMMARIES = {
    Kind.VALIDATE: "Queue one validation with its record, also while paused.",
    Kind.PAUSE: "Queue a pause; asking twice changes nothing.",
    Kind.RESUME: "Queue the end of a pause; asking twice changes nothing.",
    Kind.PREVIEW: "Queue a preview of a clip with the present weights, also while paused.",
    Kind.CHECKPOINT: "Queue a checkpoint.",
    Kind.STOP: "Queue the end of the run: finish the step, save a checkpoint, leave.",
    Kind.SET: "Queue a change of settings, taken as a whole or not at all.",
    Kind.ROLLBACK: "Queue a return to a checkpoint, to go on from there.",
}
KIND_FILTER = Choice("kind", "only of this kind", [kind.value for kind in Kind])
STATE_FILTER = Choice("state", "only in this state", [state.value for state in CommandState])
ACTOR_FILTER = PatternText(
    "actor", "only of this `actor`, with `@` and the address or without",
    ".{1,200}", "an actor as commands show it",
)  # fmt: skip

LIMIT = WholeNumber("limit", "entries on a page", default=100, minimum=1, maximum=1000)
CURSOR = Cursor()

COMMAND_ID = PathParameter("command_id", "a command's id", {"type": "string", "pattern": "^[0-9a-f]{32}$"})

LOCATION_HEADERS = {"Location": "where to look at it"}
OPTIONAL_HEADERS = {
    "Idempotency-Replayed": "`true` where the command is that of an earlier request with the same key",
    "Preference-Applied": "what of `Prefer` was applied",
}
ACCEPTED = Answer(
    CommandAnswer, "accepted and on disk, not done", 202,
    headers={**LOCATION_HEADERS, "Retry-After": "seconds until it is worth a look"}, optional_headers=OPTIONAL_HEADERS,
)  # fmt: skip

ENDED = Answer(
    Acceptance | CommandAnswer, "with `wait`: the command, ended; with `dry_run`: what would be queued",
    optional_headers={**LOCATION_HEADERS, **OPTIONAL_HEADERS},
)  # fmt: skip

COMMAND_PROBLEMS = (
    "not-json", "unsupported-media-type", "body-too-large", "invalid-argument", "key-reused", "run-ended", "no-run",
    "no-trainer", "read-only-store", "storage-unavailable",
)  # fmt: skip

View = Callable[[], Response]

blueprint = Blueprint("controls", __name__)


def submit(kind: Kind) -> Response:
    """Queue a command for the running training, or with `dry_run` only check it.

    Raises `ProblemError`, `CommandError` or `StoreUnavailableError`.
    """
    context, command_request = current_run_context(), CommandRequest.of_request(kind)
    if command_request.dry_run:
        with context.transaction_scope():
            return jsonify(dry_run_answer(accepting_run(context, command_request), command_request))
    with context.transaction_scope():
        command, is_repeated = accept(context, command_request)
    command, has_waited = wait_until_final(context.store, command, command_request.wait)
    response = _answer(command)
    declare_applied(response, command_request.preferences, has_waited=has_waited)
    if is_repeated:
        response.headers["Idempotency-Replayed"] = "true"
    return response


def _view(kind: Kind) -> View:
    """Return the view of one kind of command, with its operation."""
    conditions, extra_problems = ((IF_MATCH,), ("precondition-failed",)) if kind is Kind.SET else ((), ())

    @operation(
        Scope.CONTROL, *PARAMETERS, *conditions,
        answers=[ACCEPTED, ENDED], problems=[*COMMAND_PROBLEMS, *extra_problems], body=body_of(kind),
    )  # fmt: skip
    def view() -> Response:
        return submit(kind)

    view.__doc__ = SUMMARIES[kind]
    return view


for _kind in Kind:
    _method, _path = command_route(_kind)
    blueprint.add_url_rule(_path, _kind.value, _view(_kind), methods=[_method])


@blueprint.get("/commands")
@operation(
    Scope.READ, KIND_FILTER, STATE_FILTER, ACTOR_FILTER, LIMIT, CURSOR,
    answers=[Answer(CommandList, "a page of the list", optional_headers={"Link": "the next page, `rel=next`"})],
    problems=["invalid-argument", "no-run", "storage-unavailable"],
)  # fmt: skip
def list_newest() -> Response:
    """List the run's commands, newest first: who asked for what, when and from where, and what came of it."""
    context = current_run_context()
    kind, state, cursor = KIND_FILTER.value(), STATE_FILTER.value(), CURSOR.value()
    commands, before = context.store.commands.page(
        context.run().id,
        kind=None if kind is None else Kind(kind),
        state=None if state is None else CommandState(state),
        actor=ACTOR_FILTER.value(),
        before=None if cursor is None else cursor[0],
        limit=LIMIT.value(),
    )
    next_cursor = None if before is None else cursor_text((before, ""))
    page: CommandList = {"commands": [command_answer(command) for command in commands], "next_cursor": next_cursor}
    response = jsonify(page)
    if next_cursor is not None:
        response.headers["Link"] = next_link(next_cursor)
    return response


@blueprint.get("/commands/<command_id>")
@operation(
    Scope.READ, COMMAND_ID, answers=[Answer(CommandAnswer, "the command")],
    problems=["not-found", "storage-unavailable"],
)  # fmt: skip
def show(command_id: str) -> CommandAnswer:
    """Show one command."""
    return command_answer(_find(command_id)[1])


@blueprint.delete("/commands/<command_id>")
@operation(
    Scope.CONTROL, COMMAND_ID, ACTOR, SOURCE,
    answers=[Answer(CommandAnswer, "the command, now cancelled, or cancelled before")],
    problems=["not-found", "command-begun", "invalid-argument", "read-only-store", "storage-unavailable"],
)  # fmt: skip
def cancel(command_id: str) -> CommandAnswer:
    """Take back a command that is still queued; asking twice changes nothing."""
    store, command = _find(command_id)
    store.commands.cancel(command_id, f"cancelled by {actor()} ({source()})")
    command = store.commands.get(command_id) or command
    if command.state is not CommandState.CANCELLED:
        raise ProblemError(
            "command-begun", f"Command {command_id} is {command.state}; only one that is queued can be cancelled."
        )
    return command_answer(command)


def _find(command_id: str) -> tuple[Store, Command]:
    """Find a command and its store; raises `ProblemError` (not-found).

    Without a run in the path, commands of all runs are searched, because the default run may have changed.
    """
    context, run_id = current_run_context(), named_run()
    command = context.store.commands.get(command_id) if context.store.exists() else None
    if command is not None and run_id in {None, command.run_id}:
        return context.store, command
    found = current_registry().command(command_id) if run_id is None else None
    if found is None:
        raise ProblemError("not-found", f"There is no command {command_id!r}; /commands lists the latest.")
    return found


def _answer(command: Command) -> Response:
    """Answer 200 with a final command, otherwise 202 with its current state, Location and Retry-After."""
    response = jsonify(command_answer(command))
    response.headers["Location"] = url_for(".show", command_id=command.id)
    if not command.state.is_final:
        response.status_code = 202
        response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response


def command_answer(command: Command) -> CommandAnswer:
    """Return a command as the API answers it."""
    answer = command.as_dict()
    return cast(CommandAnswer, {**answer, "problem": problem_of_command(answer)})
