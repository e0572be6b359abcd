"""The dashboard's page, and the published schema of a record. The page asks the API like any other client."""

import json

from flask import Blueprint, Response, render_template

from service import __version__
from service.record_fields import record_schema as schema_of_records

blueprint = Blueprint("page", __name__)


@blueprint.get("/")
def index() -> str:
    """The dashboard."""
    return render_template("index.html", version=__version__)


@blueprint.get("/schema/statistik.json")
def record_schema() -> Response:
    """The JSON Schema of `Statistik_<step>.json`."""
    return Response(json.dumps(schema_of_records(), indent=2) + "\n", mimetype="application/schema+json")
