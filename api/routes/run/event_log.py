"""`/event-log`: what happened to a run, from its event log, in pages."""

from flask import Blueprint, Response, jsonify

from api.http.operation import Answer, Scope, operation
from api.http.pagination import Cursor, cursor_text, next_link
from api.http.parameters import PatternText, WholeNumber
from api.http.problems import problem_of_command
from api.runs.context import current_run_context
from service.api_types import EventEntry, EventLog
from service.store.queries.events import Event

_KIND = "[a-z][a-z -]{0,39}"
KINDS = PatternText(
    "kinds", "only these kinds of entries, separated by commas", f"{_KIND}(?:,{_KIND}){{0,31}}",
    "kinds of entries, such as rollback,set,alert",
)  # fmt: skip
LIMIT = WholeNumber("limit", "entries on a page", default=100, minimum=1, maximum=1000)
CURSOR = Cursor()
AFTER = WholeNumber("after", "only entries that are newer than the one with this `id`", default=0)

blueprint = Blueprint("event_log", __name__)


@blueprint.get("/event-log")
@operation(
    Scope.READ, KINDS, LIMIT, CURSOR, AFTER,
    answers=[Answer(EventLog, "a page of the list", optional_headers={"Link": "the next page, `rel=next`"})],
    problems=["invalid-argument", "no-run", "storage-unavailable"],
)  # fmt: skip
def list_newest() -> Response:
    """List what happened to the run, the newest first: starts, records, commands, alerts, changes of the controller."""
    context, cursor, kinds = current_run_context(), CURSOR.value(), KINDS.value()
    entries, is_last = context.store.events.page(
        context.run().id,
        before_id=None if cursor is None else cursor[0],
        after_id=AFTER.value(),
        kinds=None if kinds is None else kinds.split(","),
        limit=LIMIT.value(),
    )
    next_cursor = None if is_last else cursor_text((entries[-1].id, ""))
    page: EventLog = {"events": [_entry(event) for event in entries], "next_cursor": next_cursor}
    response = jsonify(page)
    if next_cursor is not None:
        response.headers["Link"] = next_link(next_cursor)
    return response


def _entry(event: Event) -> EventEntry:
    """Return an entry as it is answered: a command is shown as `/commands/<id>` answers it."""
    details = dict(event.details)
    if event.kind == "command":
        details["problem"] = problem_of_command(details)
    return {"id": event.id, "kind": event.kind, "step": event.step, "time": event.time, "details": details}
