"""`/livez`: this process answers. `/readyz`: the store can be read and a trainer is alive."""

from flask import Blueprint

from api.http.operation import Answer, Scope, operation
from api.http.problems import ProblemError
from api.runs.context import current_run_context
from service.api_types import Alive, Ready

blueprint = Blueprint("health", __name__)


@blueprint.get("/livez")
@operation(Scope.OPEN, answers=[Answer(Alive, "this process answers")])
def livez() -> Alive:
    """Always 200: restarting the API would not help a trainer."""
    return {"alive": True}


@blueprint.get("/readyz")
@operation(
    Scope.READ,
    answers=[Answer(Ready, "commands can be obeyed")],
    problems=["no-run", "no-trainer", "storage-unavailable"],
)
def readyz() -> Ready:
    """200 while commands can be obeyed, otherwise 503."""
    context = current_run_context()
    run = context.run()
    state = run.reported_state(context.now(run))
    if not state.has_trainer:
        raise ProblemError("no-trainer", f"No trainer is alive: the run is {state}.")
    return {"ready": True}
