"""`/previews`: the pictures of validations, LR | KI | GT side by side."""

from itertools import islice
from urllib.parse import quote

from flask import Blueprint, Response, jsonify

from api.artifacts.previews import MEDIA_TYPES, Picture, PreviewFiles, media_type
from api.http.conditional import NOT_MODIFIED, PRECONDITIONS, RANGE, Representation, respond
from api.http.operation import Answer, Scope, operation
from api.http.pagination import Count, Cursor, cursor_text, next_link
from api.http.parameters import LARGEST, InPath, Step
from api.http.problems import ProblemError
from api.runs.context import current_run_context, run_path
from service.api_types import PreviewEntry, PreviewList

USUAL_LIMIT, MOST_PREVIEWS = 100, 1000

KINDS = sorted(MEDIA_TYPES.values())

STEP = Step("step", "only the pictures of this step")
OF_STEP = InPath("step", "the step of a validation", {"type": "integer", "minimum": 0, "maximum": LARGEST})
NAME = InPath("name", "a picture's name as the list gives it", {"type": "string"})
LIMIT = Count("limit", f"pictures on a page, {USUAL_LIMIT} where it is not said", most=MOST_PREVIEWS)
CURSOR = Cursor()

blueprint = Blueprint("previews", __name__)


@blueprint.get("/previews")
@operation(
    Scope.READ, STEP, LIMIT, CURSOR,
    answers=[Answer(PreviewList, "a page of the pictures", optional_headers={"Link": "the next page, `rel=next`"})],
    problems=["not-found", "invalid-argument", "storage-unavailable"],
)  # fmt: skip
def list_all() -> Response:
    """List the preview pictures, newest step first."""
    limit = LIMIT.value() or USUAL_LIMIT
    try:
        found = list(islice(_files().pictures(CURSOR.value(), STEP.value()), limit + 1))
    except OSError as error:
        raise _unreadable(error) from None
    last = found[limit - 1] if len(found) > limit else None
    cursor = None if last is None else cursor_text((last.step, last.name))
    page: PreviewList = {"previews": [_entry(picture) for picture in found[:limit]], "next_cursor": cursor}
    response = jsonify(page)
    if cursor is not None:
        response.headers["Link"] = next_link(cursor)
    return response


@blueprint.get("/previews/<int:step>/<name>")
@operation(
    Scope.READ, OF_STEP, NAME,
    answers=[
        *(Answer(None, "the picture", 200, kind, {"ETag": "the picture's sha256"}) for kind in KINDS),
        *(Answer(None, "the range that was asked for", 206, kind, RANGE) for kind in KINDS),
        NOT_MODIFIED,
    ],
    problems=["not-found", *PRECONDITIONS, "storage-unavailable"],
)  # fmt: skip
def show(step: int, name: str) -> Response:
    """Show one preview picture."""
    try:
        file = _files().find(step, name)
    except OSError as error:
        raise _unreadable(error) from None
    kind = media_type(name)
    if file is None or kind is None:
        raise ProblemError("not-found", f"There is no preview {name!r} of step {step}; /previews lists all.")
    return respond(Representation(file.content, kind, file.sha256, file.modified_at))


def _files() -> PreviewFiles:
    place = current_run_context().place
    if place is None:
        raise ProblemError("not-found", "The run's directory is not on this machine, so its previews cannot be shown.")
    return place.previews


def _entry(picture: Picture) -> PreviewEntry:
    return {
        "step": picture.step,
        "name": picture.name,
        "size_bytes": picture.size_bytes,
        "url": run_path(f"/previews/{picture.step}/{quote(picture.name)}"),
    }


def _unreadable(error: OSError) -> ProblemError:
    return ProblemError("storage-unavailable", f"The previews cannot be read ({error.strerror}); try again.")
