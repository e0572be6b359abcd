"""`/previews`: the pictures of validations, LR | KI | GT side by side."""

from itertools import islice
from urllib.parse import quote

from flask import Blueprint, Response, jsonify

from api.artifacts.previews import MEDIA_TYPES, PreviewFiles, PreviewImage, media_type
from api.http.conditional import NOT_MODIFIED, PRECONDITIONS, RANGE, Representation, respond
from api.http.operation import Answer, Scope, operation
from api.http.pagination import Count, Cursor, cursor_text, next_link
from api.http.parameters import LARGEST, PathParameter, Step
from api.http.problems import ProblemError
from api.runs.context import current_run_context, run_path
from service.api_types import PreviewEntry, PreviewList

DEFAULT_LIMIT, MAX_PREVIEWS = 100, 1000

KINDS = sorted(MEDIA_TYPES.values())

STEP = Step("step", "only the pictures of this step")
OF_STEP = PathParameter("step", "the step of a validation", {"type": "integer", "minimum": 0, "maximum": LARGEST})
NAME = PathParameter("name", "a picture's name as the list gives it", {"type": "string"})
LIMIT = Count("limit", f"pictures on a page, {DEFAULT_LIMIT} where it is not said", maximum=MAX_PREVIEWS)
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
    limit = LIMIT.value() or DEFAULT_LIMIT
    try:
        images = list(islice(_preview_files().images(CURSOR.value(), STEP.value()), limit + 1))
    except OSError as error:
        raise _unreadable(error) from None
    last = images[limit - 1] if len(images) > limit else None
    cursor = None if last is None else cursor_text((last.step, last.name))
    page: PreviewList = {"previews": [_entry(image) for image in images[:limit]], "next_cursor": cursor}
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
        file = _preview_files().find(step, name)
    except OSError as error:
        raise _unreadable(error) from None
    kind = media_type(name)
    if file is None or kind is None:
        raise ProblemError("not-found", f"There is no preview {name!r} of step {step}; /previews lists all.")
    return respond(Representation(file.content, kind, file.sha256, file.modified_at))


def _preview_files() -> PreviewFiles:
    cached_directory = current_run_context().cached_directory
    if cached_directory is None:
        raise ProblemError("not-found", "The run's directory is not on this machine, so its previews cannot be shown.")
    return cached_directory.previews


def _entry(image: PreviewImage) -> PreviewEntry:
    return {
        "step": image.step,
        "name": image.name,
        "size_bytes": image.size_bytes,
        "url": run_path(f"/previews/{image.step}/{quote(image.name)}"),
    }


def _unreadable(error: OSError) -> ProblemError:
    return ProblemError("storage-unavailable", f"The previews cannot be read ({error.strerror}); try again.")
