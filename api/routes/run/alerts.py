"""`/alerts`: the alerts of a run that are on now: judged anew for every request, from its row and its journal."""

import time

from flask import Blueprint, current_app

from api.alerts.current import books_of, judged_alerts
from api.http.operation import Answer, Scope, operation
from api.runs.context import current_reader
from service.api_types import AlertList

blueprint = Blueprint("alerts", __name__)


@blueprint.get("/alerts")
@operation(
    Scope.READ, answers=[Answer(AlertList, "the alerts, in a fixed order")], problems=["no-run", "storage-unavailable"]
)
def list_all() -> AlertList:
    """List the alerts that are on now."""
    reader = current_reader()
    with reader.together():
        run = reader.run()
        judged = judged_alerts(books_of(current_app), reader, run, time.time())
    alerts = judged.on.values()
    return {
        "run_id": run.id,
        "alerts": [{"name": alert.name, "since": alert.since, "sentence": alert.sentence} for alert in alerts],
    }
