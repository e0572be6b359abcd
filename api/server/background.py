"""Background threads of the serving process: the alert monitor and the webhook sender.

gunicorn starts them once a worker is ready (`api/server/gunicorn_config.py`); nothing happens on import.
"""

from collections.abc import Callable

from flask import Flask

from api.alerts.alert_sender import AlertSender
from api.alerts.current import alert_logs_of
from api.alerts.monitor import AlertMonitor
from api.alerts.webhook import WebhookTarget
from api.events.broadcaster import broadcasters_of
from api.runs.registry import KnownRun, RunRegistry
from service.config.settings import RunConfig
from service.run import active_time


def start(app: Flask, config: RunConfig, is_ending: Callable[[], bool]) -> None:
    """Start the threads of `app`; they and all event streams end once `is_ending()`. Raises `SettingError`."""
    active_time.start(is_ending)
    broadcasters_of(app).end_when(is_ending)
    receiver = WebhookTarget.of(config)
    sender = None if receiver is None else AlertSender(receiver, is_ending)

    def notify(known: KnownRun, event_id: int) -> None:
        if sender is not None:
            sender.notify(known.store, known.row.id, event_id)

    registry = app.extensions["leitstand"]
    assert isinstance(registry, RunRegistry)
    AlertMonitor(registry, alert_logs_of(app), is_ending, notify).start()
    if sender is not None:
        sender.start()
