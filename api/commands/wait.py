"""Waits for a command's end within a request; holds no store connection and leaves threads free for other requests."""

import select
import threading
import time
from collections.abc import Callable
from typing import Any

from flask import request

from service.commands import Command
from service.store.change_poll import ChangePoller
from service.store.store import Store, StoreUnavailableError

MAX_WAITING = 32
"""Limit for concurrently waiting requests; more are answered immediately. As many threads stay free for others."""
POLL_SECONDS = 0.02

Pause = Callable[[float], bool]
"""Waits for the given seconds; returns whether the client has disconnected meanwhile."""

_wait_slots = threading.BoundedSemaphore(MAX_WAITING)


def wait_until_final(store: Store, command: Command, seconds: float) -> tuple[Command, bool]:
    """Return the command once it is final, at the latest after `seconds` or once the client has disconnected.

    Also returns whether it could wait: too many requests may wait already. The command is accepted already, so an
    unreadable store is no error: it is polled again.
    """
    if seconds <= 0 or command.state.is_final:
        return command, True
    if not _wait_slots.acquire(blocking=False):
        return command, False
    try:
        return _poll_until_final(store, command, time.monotonic() + seconds, _client_pause()), True
    finally:
        _wait_slots.release()


def _poll_until_final(store: Store, command: Command, deadline: float, pause: Pause) -> Command:
    poller = ChangePoller(store, command.run_id)
    while not command.state.is_final and (now := time.monotonic()) < deadline:
        if poller.is_due(now):
            command = _current(store, command)
        elif pause(min(POLL_SECONDS, deadline - now)):
            break
    return command


def _current(store: Store, command: Command) -> Command:
    """Return the command's current state, or `command` unchanged if the store cannot be read."""
    try:
        return store.commands.get(command.id) or command
    except StoreUnavailableError:
        return command


def _client_pause() -> Pause:
    """Return a pause that ends early when the current request's client closes its sending side.

    The client may still be reading, so it is answered immediately.
    """
    connection: Any = request.environ.get("gunicorn.socket") if request else None
    if connection is None or not hasattr(select, "POLLRDHUP"):
        return _sleep
    poller = select.poll()
    poller.register(connection, select.POLLRDHUP)
    return lambda seconds: bool(poller.poll(1000 * seconds))


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False
