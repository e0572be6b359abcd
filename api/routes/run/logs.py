"""`/logs`: the end of `training.log`, or what was written since an earlier answer, however long it is."""

from flask import Blueprint, Response

from api.artifacts.log_tail import log_part
from api.http.operation import Answer, Scope, operation
from api.http.pagination import Cursor, cursor_text
from api.http.parameters import WholeNumber
from api.http.problems import ProblemError
from api.runs.context import current_run_context

MAX_LINES = 5000

TAIL = WholeNumber("tail", "how many lines from the end", default=200, minimum=1, maximum=MAX_LINES)
AFTER = Cursor(
    "after", "the `Log-Cursor` of an earlier answer: only what was written since then",
    "the Log-Cursor of an earlier answer",
)  # fmt: skip

blueprint = Blueprint("logs", __name__)


@blueprint.get("/logs")
@operation(
    Scope.READ, TAIL, AFTER,
    answers=[Answer(
        media_type="text/plain", description="the lines, UTF-8; what is none is replaced by U+FFFD",
        headers={"Log-Cursor": "where they end: `after` of the next request"},
        optional_headers={"Log-Continued": "`true` where they begin at `after`; else they are the last of another log"},
    )],
    problems=["not-found", "invalid-argument", "storage-unavailable"],
)  # fmt: skip
def show() -> Response:
    """Show the last lines of the run's log, or with `after` what is new."""
    directory = current_run_context().directory
    if directory is None:
        raise ProblemError("not-found", "The run's directory is not on this machine, so its log cannot be shown.")
    try:
        part = log_part(directory.log, TAIL.value(), AFTER.value())
    except OSError as error:
        raise ProblemError("storage-unavailable", f"The log cannot be read ({error.strerror}); try again.") from None
    if part is None:
        raise ProblemError("not-found", "There is no training.log yet.")
    response = Response(part.text, mimetype="text/plain")
    response.headers["Log-Cursor"] = cursor_text(part.position)
    if part.is_continued:
        response.headers["Log-Continued"] = "true"
    return response
