"""Background threads of the serving process: the alert monitor and a sender for each receiver of alerts.

gunicorn starts them once a worker is ready (`api/server/gunicorn_config.py`); nothing happens on import.
"""

from collections.abc import Callable

from flask import Flask

from api.alerts.alert_sender import AlertSender
from api.alerts.current import alert_logs_of
from api.alerts.monitor import AlertMonitor
from api.alerts.notification import NotificationReceiver
from api.alerts.receiver import Receiver
from api.alerts.webhook import WebhookTarget
from api.events.broadcaster import broadcasters_of
from api.runs.registry import KnownRun, RunRegistry
from service.config.settings import RunConfig
from service.run import active_time


def receivers_of(config: RunConfig) -> list[Receiver]:
    """Return all receivers of alerts in the settings; raises `SettingError` for an invalid one."""
    webhook = WebhookTarget.of(config)
    return [*([] if webhook is None else [webhook]), *NotificationReceiver.all_of(config)]


def start(app: Flask, config: RunConfig, is_ending: Callable[[], bool]) -> None:
    """Start the threads of `app`; they and all event streams end once `is_ending()`. Raises `SettingError`."""
    active_time.start(is_ending)
    broadcasters_of(app).end_when(is_ending)
    senders = [AlertSender(receiver, is_ending) for receiver in receivers_of(config)]

    def notify(known: KnownRun, event_id: int) -> None:
        for sender in senders:
            sender.notify(known.store, known.row.id, event_id)

    registry = app.extensions["leitstand"]
    assert isinstance(registry, RunRegistry)
    AlertMonitor(registry, alert_logs_of(app), is_ending, notify).start()
    for sender in senders:
        sender.start()
