"""`/runs`: every run of this control room, and what people call each of them."""

from flask import Blueprint, Response, jsonify, render_template

from api.commands.body_schemas import PATCH_TYPES, description_body
from api.commands.request import ACTOR, SOURCE, actor, json_body, source
from api.http.operation import Answer, Scope, operation, wants_page
from api.http.pagination import RunCursor, cursor_text, next_link
from api.http.parameters import PathParameter, WholeNumber
from api.http.problems import ProblemError
from api.http.static_files import PAGE_UNCHANGED, page
from api.runs.context import RunContext, current_run_context
from api.runs.registry import KnownRun, RunRegistry, current_registry, entry
from service import __version__
from service.api_types import RunEntry, RunList
from service.run.identity import check_description
from service.run.state import RunState
from service.store.store import RunRow, StoreUnavailableError

RUN = PathParameter("run", "a run's id, as /runs lists them", {"type": "string"})
LIMIT = WholeNumber("limit", "runs on a page", default=100, minimum=1, maximum=1000)
CURSOR = RunCursor()

blueprint = Blueprint("runs", __name__)


@blueprint.get("/runs")
@operation(
    Scope.READ, LIMIT, CURSOR,
    answers=[
        Answer(
            RunList, "the runs, the one that started last first", optional_headers={"Link": "the next page, `rel=next`"}
        ),
        Answer(media_type="text/html", description="a page that lists and compares them, for a browser"),
        PAGE_UNCHANGED,
    ],
    problems=["invalid-argument", "storage-unavailable"], has_open_page=True,
)  # fmt: skip
def list_page() -> Response:
    """List the runs; each has all routes of the default one below its `url`."""
    response = _page() if wants_page() else _list()
    response.vary.add("Accept")
    return response


def _page() -> Response:
    states = [state.value for state in RunState]
    return page(render_template("runs.html", version=__version__, root="./", states=states))


def _list() -> Response:
    registry = current_registry()
    found = registry.page(CURSOR.value(), LIMIT.value())
    default = _default_run_id(registry)
    cursor = None if found.end is None else cursor_text(found.end)
    answer: RunList = {
        "runs": [entry(run, is_default=run.row.id == default) for run in found.runs],
        "skipped": found.skipped,
        "next_cursor": cursor,
    }
    response = jsonify(answer)
    if cursor is not None:
        response.headers["Link"] = next_link(cursor)
    return response


@blueprint.patch("/runs/<run>")
@operation(
    Scope.CONTROL, RUN, ACTOR, SOURCE,
    answers=[Answer(RunEntry, "the run, as it is called now")],
    problems=["not-found", "no-run", "invalid-argument", "read-only-store", "storage-unavailable"],
    body=description_body(),
)  # fmt: skip
def describe() -> RunEntry:
    """Change the name of a run, its note or both, whether it has ended or not; the event log says who did."""
    context = current_run_context()
    changes = check_description(json_body(PATCH_TYPES))
    run = context.store.runs.describe(context.run().id, changes, actor=actor(), source=source())
    return _entry(context, context.run() if run is None else run)


def _entry(context: RunContext, row: RunRow) -> RunEntry:
    registry = current_registry()
    known = KnownRun(row, context.store, context.cached_directory)
    return entry(known, is_default=row.id == _default_run_id(registry))


def _default_run_id(registry: RunRegistry) -> str | None:
    """Return the id of the default run; None if there is none or it cannot be read."""
    try:
        default = registry.context().find_run()
    except (ProblemError, StoreUnavailableError):
        return None
    return None if default is None else default.id
