"""The dashboard's page. It asks the API like any other client."""

from flask import Blueprint, render_template

from api.http.operation import Answer, Scope, operation
from api.runs.context import run_path
from service import __version__

blueprint = Blueprint("page", __name__)

PAGE = Answer(media_type="text/html", description="the dashboard")


@blueprint.get("/")
@operation(Scope.OPEN, answers=[PAGE])
def index() -> str:
    """Show the dashboard; below `/runs/<run>/` that of this run."""
    return render_template("index.html", version=__version__, base=run_path(""))
