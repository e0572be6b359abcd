"""`POST /validate`, `/pause`, … : asking something of the running training, and `/commands`: what became of it.

A request only queues a command and answers 202; it never waits for the trainer.
"""

import json
import time
from typing import Any

from flask import Blueprint, Response, jsonify, request, url_for

from api.arguments import whole_number
from api.problems import ProblemError
from api.reader import Reader, current_reader
from service.commands import Kind, check_arguments
from service.store import RunRow

SOURCES = ("api", "cli", "web")
ACTOR_LENGTH = 64
MOST_COMMANDS = 1000

blueprint = Blueprint("controls", __name__)


def submit(kind: str) -> Response:
    """Queue a command for the running training."""
    reader = current_reader()
    wanted = Kind(kind)
    arguments = check_arguments(wanted, _body())
    actor, source = _actor(), _source()
    run = _steerable_run(reader)
    command = reader.store.submit(run.id, wanted, arguments, actor=actor, source=source)
    response = jsonify(command.as_dict())
    response.status_code = 202
    response.headers["Location"] = url_for("controls.show", command_id=command.id)
    response.headers["Retry-After"] = "1"
    return response


for _kind in Kind:
    blueprint.add_url_rule(f"/{_kind}", view_func=submit, methods=["POST"], defaults={"kind": _kind.value})


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
    reader = current_reader()
    command = reader.store.command(command_id) if reader.find_run() else None
    if command is None:
        raise ProblemError("not-found", f"There is no command {command_id!r}; /commands lists the latest.")
    return command.as_dict()


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


def _body() -> Any:
    """The arguments in the request's body; none when it is empty."""
    content = request.get_data()
    if not content:
        return {}
    if request.mimetype != "application/json":
        raise ProblemError(
            "unsupported-media-type",
            f"The body's Content-Type is {request.mimetype!r}, but must be application/json; or send no body.",
        )
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ProblemError("not-json", f"The body is not JSON ({error}); send {{}} or no body.") from None


def _actor() -> str:
    """Who asks, as they say, and from which address."""
    name = request.headers.get("X-Leitstand-Actor") or "anonymous"
    try:
        # WSGI hands header bytes on as Latin-1; people's names come as UTF-8.
        name = name.encode("latin-1").decode()
    except UnicodeError:
        name = "\0"
    if len(name) > ACTOR_LENGTH or not name.isprintable():
        raise ProblemError(
            "invalid-argument", f"X-Leitstand-Actor must be at most {ACTOR_LENGTH} printable characters."
        )
    return f"{name}@{request.remote_addr}"


def _source() -> str:
    source = request.headers.get("X-Leitstand-Source") or "api"
    if source not in SOURCES:
        raise ProblemError(
            "invalid-argument", f"X-Leitstand-Source is {source!r}, but must be one of: {', '.join(SOURCES)}."
        )
    return source
