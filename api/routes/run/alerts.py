"""`/alerts`: the alerts of a run that are on now: judged anew for every request, from its row and its journal."""

from flask import Blueprint, current_app

from api.alerts.current import alert_logs_of, current_alerts
from api.http.operation import Answer, Scope, operation
from api.runs.context import current_run_context
from service.api_types import AlertList

blueprint = Blueprint("alerts", __name__)


@blueprint.get("/alerts")
@operation(
    Scope.READ, answers=[Answer(AlertList, "the alerts, in a fixed order")], problems=["no-run", "storage-unavailable"]
)
def list_all() -> AlertList:
    """List the alerts that are on now."""
    context = current_run_context()
    with context.transaction_scope():
        run = context.run()
        verdict = current_alerts(alert_logs_of(current_app), context, run, context.now(run))
    alerts = verdict.firing.values()
    return {
        "run_id": run.id,
        "alerts": [{"name": alert.name, "since": alert.since, "sentence": alert.sentence} for alert in alerts],
    }
