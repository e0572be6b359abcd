"""`/state`: the live snapshot under the record's keys, and what the run is doing now."""

from typing import Any

from flask import Blueprint

from api.http.operation import Answer, Scope, operation
from api.runs.context import current_run_context
from api.runs.state_answer import state_answer, state_schema

blueprint = Blueprint("states", __name__)


@blueprint.get("/state")
@operation(
    Scope.READ,
    answers=[Answer(schema=state_schema(), description="the live snapshot and the run's state")],
    problems=["no-run", "storage-unavailable"],
)
def show() -> dict[str, Any]:
    """What the current run is doing."""
    context = current_run_context()
    run = context.run()
    now = context.now(run)
    return state_answer(run, now, context.store.ledgers.of(run, now))
