"""The dashboard's page. It asks the API like any other client."""

from flask import Blueprint, Response, render_template

from api.http.operation import Answer, Scope, operation
from api.http.static_files import PAGE_UNCHANGED, page
from api.runs.context import is_below_run
from service import __version__

blueprint = Blueprint("page", __name__)

PAGE = Answer(media_type="text/html", description="the dashboard")


@blueprint.get("/")
@operation(Scope.OPEN, answers=[PAGE, PAGE_UNCHANGED])
def index() -> Response:
    """Show the dashboard; below `/runs/<run>/` that of this run."""
    return page(render_template("index.html", version=__version__, root="../../" if is_below_run() else "./"))
