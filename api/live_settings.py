"""`GET /settings`: what is in force, what was changed while running, what is to change, and what can be.

The answer's strong ETag is that of all this together. Who changes settings on the strength of what he read (If-Match)
is refused once a change of somebody else is in force or under way: two can never both build on the same reading.
"""

import hashlib
from collections.abc import Mapping

from flask import Blueprint, Response, jsonify, request

from api.conditional import NOT_MODIFIED, PRECONDITIONS, Representation, respond
from api.contract import Answer, Scope, operation
from api.problems import ProblemError
from api.reader import current_reader
from service.answers import ChangeableSetting, PendingChange, SettingsAnswer
from service.commands import CommandState, Kind
from service.config import as_text
from service.live import CHANGEABLE, PINNABLE, LiveSettings, allowed_text
from service.settings import rule_of
from service.store import RunRow, Store

Values = Mapping[str, int | float | bool | str]

blueprint = Blueprint("live_settings", __name__)


@blueprint.get("/settings")
@operation(
    Scope.READ,
    answers=[
        Answer(SettingsAnswer, "the settings", headers={"ETag": "of everything in the answer, for If-Match"}),
        NOT_MODIFIED,
    ],
    problems=[*PRECONDITIONS, "no-run", "storage-unavailable"],
)
def show() -> Response:
    """Show the settings in force, the changes under way, and which settings can change while the run goes on."""
    reader = current_reader()
    with reader.together():
        present = _present(reader.store, reader.run().id)
    return respond(present)


def require_unchanged(store: Store, run_id: str) -> None:
    """Check the present request's If-Match, if it has one; raises `ProblemError` (precondition-failed)."""
    if "If-Match" not in request.headers or request.if_match.star_tag:
        return
    present = _present(store, run_id)
    if not request.if_match.contains(present.sha256):
        raise ProblemError(
            "precondition-failed",
            "The settings are not those with the ETag in If-Match, or are about to change; look at them again.",
            {"ETag": f'"{present.sha256}"'},
        )


def settings_of(run: RunRow) -> LiveSettings:
    """The settings of a run as the trainer last reported them."""
    return LiveSettings.of_run(run.config, run.live)


def has_perceptual(run: RunRow) -> bool:
    """Whether the run computes the perceptual term: the trainer knows, and before it says so the settings do."""
    wanted = settings_of(run).start.perceptual_weight > 0
    return bool((run.facts or {}).get("has_perceptual", wanted))


def _present(store: Store, run_id: str) -> Representation:
    # In this order: a change that ends between the two looks is in the second.
    pending = _pending(store, run_id)
    run = store.run(run_id)
    if run is None:
        raise ProblemError("no-run", f"Run {run_id} is not in its store any more; look at /runs.")
    content = jsonify(_answer(run, pending)).get_data()
    return Representation(content, "application/json", hashlib.sha256(content).hexdigest())


def _answer(run: RunRow, pending: list[PendingChange]) -> SettingsAnswer:
    live = settings_of(run)
    pins = {name: live.pins[name.lower()] for name in PINNABLE if name.lower() in live.pins}
    settings, start = {**as_text(live.config), **pins}, as_text(live.start)
    return {
        "settings": settings,
        "changes": {name: settings[name] for name in live.changes},
        "pins": pins,
        "pending": pending,
        "changeable": [_row(name, settings, start) for name in (*CHANGEABLE, *PINNABLE)],
    }


def _pending(store: Store, run_id: str) -> list[PendingChange]:
    """The changes that are accepted and not carried out, in the order of their acceptance."""
    found = [
        command
        for state in (CommandState.QUEUED, CommandState.RUNNING)
        for command in store.commands(run_id, state)
        if command.kind is Kind.SET
    ]
    return [
        {"command_id": command.id, "changes": dict(command.arguments), "apply_at_step": command.apply_at_step}
        for command in sorted(found, key=lambda command: (command.created_at, command.id))
    ]


def _row(name: str, settings: Values, start: Values) -> ChangeableSetting:
    return {
        "name": name,
        "value": settings[name],
        "start_value": start[name],
        "range": allowed_text(name),
        "meaning": rule_of(name.lower()).meaning,
    }
