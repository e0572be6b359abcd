"""`/runs`: every run of this control room."""

import time

from flask import Blueprint

from api.http.operation import Answer, Scope, operation
from api.http.problems import ProblemError
from api.runs.registry import RunRegistry, current_registry, entry
from service.api_types import RunList
from service.store.store import StoreUnavailableError

blueprint = Blueprint("runs", __name__)


@blueprint.get("/runs")
@operation(
    Scope.READ, answers=[Answer(RunList, "the runs, the one that started last first")], problems=["storage-unavailable"]
)
def list_all() -> RunList:
    """List the runs; each has all routes of the default one below its `url`."""
    registry, now = current_registry(), time.time()
    known, skipped = registry.scan()
    default = _default_run_id(registry)
    return {"runs": [entry(run, now, is_default=run.row.id == default) for run in known], "skipped": skipped}


def _default_run_id(registry: RunRegistry) -> str | None:
    """Return the id of the default run; None if there is none or it cannot be read."""
    try:
        default = registry.context().find_run()
    except (ProblemError, StoreUnavailableError):
        return None
    return None if default is None else default.id
