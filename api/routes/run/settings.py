"""`GET /settings`: what is in force, what was changed while running, what is to change, and what can be.

The answer's strong ETag covers all of this. A change with If-Match is rejected once another change is in force or
pending, so two clients can never both change settings based on the same state.
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
        representation = settings_representation(context.store, context.run().id)
    return respond(representation)
