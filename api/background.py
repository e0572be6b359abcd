"""What the process that serves does without being asked: it watches for alerts and delivers them.

Begun by gunicorn once a worker is ready (`api/gunicorn_config.py`): nothing of it happens on import.
"""

from collections.abc import Callable

from flask import Flask

from api.alert_watch import AlertWatch
from api.alerts import books_of
from api.courier import Courier
from api.events import watchers_of
from api.room import KnownRun, Room
from api.webhooks import Receiver
from service.settings import RunConfig


def begin(app: Flask, config: RunConfig, is_ending: Callable[[], bool]) -> None:
    """Start the threads of `app`; they and all event streams end once `is_ending` is true."""
    watchers_of(app).end_when(is_ending)
    receiver = Receiver.of(config)
    courier = None if receiver is None else Courier(receiver, is_ending)

    def tell(known: KnownRun, event_id: int) -> None:
        if courier is not None:
            courier.tell(known.store, known.row.id, event_id)

    room = app.extensions["leitstand"]
    assert isinstance(room, Room)
    AlertWatch(room, books_of(app), is_ending, tell).start()
    if courier is not None:
        courier.start()
