"""`/logs`: the end of `training.log`, read from its end, however long it is."""

from flask import Blueprint, Response

from api.artifacts.log_tail import last_lines
from api.http.operation import Answer, Scope, operation
from api.http.parameters import WholeNumber
from api.http.problems import ProblemError
from api.runs.context import current_run_context

MAX_LINES = 5000

TAIL = WholeNumber("tail", "how many lines from the end", default=200, minimum=1, maximum=MAX_LINES)

blueprint = Blueprint("logs", __name__)


@blueprint.get("/logs")
@operation(
    Scope.READ, TAIL,
    answers=[Answer(media_type="text/plain", description="the lines, UTF-8; what is none is replaced by U+FFFD")],
    problems=["not-found", "invalid-argument", "storage-unavailable"],
)  # fmt: skip
def show() -> Response:
    """Show the last lines of the run's log."""
    directory = current_run_context().directory
    if directory is None:
        raise ProblemError("not-found", "The run's directory is not on this machine, so its log cannot be shown.")
    try:
        lines = last_lines(directory.log, TAIL.value())
    except OSError as error:
        raise ProblemError("storage-unavailable", f"The log cannot be read ({error.strerror}); try again.") from None
    if lines is None:
        raise ProblemError("not-found", "There is no training.log yet.")
    return Response(lines.decode("utf-8", "replace"), mimetype="text/plain")
