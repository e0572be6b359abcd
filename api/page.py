"""The dashboard's page. It asks the API like any other client."""

from flask import Blueprint, g, render_template

from api.contract import Answer, Scope, operation
from service import __version__

blueprint = Blueprint("page", __name__)

PAGE = Answer(media_type="text/html", description="the dashboard")


@blueprint.get("/")
@operation(Scope.OPEN, answers=[PAGE])
def index() -> str:
    """Show the dashboard; below `/runs/<run>/` that of this run."""
    base = f"/runs/{g.run_id}" if "run_id" in g else ""
    return render_template("index.html", version=__version__, base=base)
