"""`/checkpoints`: the saved states that a run can resume from or go back to."""

from flask import Blueprint

from api.http.operation import Answer, Scope, operation
from api.http.problems import ProblemError
from api.runs.context import current_run_context
from service.api_types import CheckpointList

blueprint = Blueprint("checkpoints", __name__)


@blueprint.get("/checkpoints")
@operation(
    Scope.READ,
    answers=[Answer(CheckpointList, "the saved states by step")],
    problems=["not-found", "storage-unavailable"],
)
def list_all() -> CheckpointList:
    """List the saved states, and which of them `latest` and `best` are."""
    cached_directory = current_run_context().cached_directory
    if cached_directory is None:
        raise ProblemError(
            "not-found", "The run's directory is not on this machine, so its checkpoints cannot be shown."
        )
    try:
        return cached_directory.checkpoints.listing()
    except OSError as error:
        raise ProblemError(
            "storage-unavailable", f"The checkpoints cannot be read ({error.strerror}); try again."
        ) from None
