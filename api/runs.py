"""`/runs`: every run of this control room."""

import time

from flask import Blueprint

from api.contract import Answer, Scope, operation
from api.room import current_room, entry
from service.answers import RunList

blueprint = Blueprint("runs", __name__)


@blueprint.get("/runs")
@operation(
    Scope.READ, answers=[Answer(RunList, "the runs, the one that started last first")], problems=["storage-unavailable"]
)
def list_all() -> RunList:
    """List the runs; each has all routes of the default one below its `url`."""
    room, now = current_room(), time.time()
    default = room.reader().find_run()
    return {
        "runs": [
            entry(known, now, is_default=default is not None and known.row.id == default.id) for known in room.runs()
        ]
    }
