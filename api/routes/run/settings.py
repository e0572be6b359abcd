"""`GET /settings`: what is in force, what was changed while running, what is to change, and what can be.

The answer's strong ETag is that of all this together. Who changes settings on the strength of what he read (If-Match)
is refused once a change of somebody else is in force or under way: two can never both build on the same reading.
"""

from flask import Blueprint, Response

from api.http.conditional import NOT_MODIFIED, PRECONDITIONS, respond
from api.http.operation import Answer, Scope, operation
from api.runs.context import current_run_context
from api.runs.settings_answer import settings_representation
from service.api_types import SettingsAnswer

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
    context = current_run_context()
    with context.transaction_scope():
        present = settings_representation(context.store, context.run().id)
    return respond(present)
