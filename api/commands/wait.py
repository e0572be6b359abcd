"""Waiting for a command's end within a request: no store connection is held, and most threads stay free for others."""

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
"""Requests that may wait at a time: half of the server's threads. Others are answered at once."""
POLL_SECONDS = 0.02

Rest = Callable[[float], bool]
"""Lets so many seconds pass; whether the client has left meanwhile."""

_places = threading.BoundedSemaphore(MAX_WAITING)


def wait_until_final(store: Store, command: Command, seconds: float) -> Command:
    """The command once it is final, or as it stands after `seconds`, or once the client has left.

    It was accepted already, so a store that cannot be read meanwhile is no failure: it is asked again.
    """
    if seconds <= 0 or command.state.is_final or not _places.acquire(blocking=False):
        return command
    try:
        return _followed(store, command, time.monotonic() + seconds, _rest())
    finally:
        _places.release()


def _followed(store: Store, command: Command, deadline: float, rest: Rest) -> Command:
    watch = ChangePoller(store, command.run_id)
    while not command.state.is_final and (now := time.monotonic()) < deadline:
        if watch.is_due(now):
            command = _present(store, command)
        elif rest(min(POLL_SECONDS, deadline - now)):
            break
    return command


def _present(store: Store, command: Command) -> Command:
    """How the command stands; as before when the store cannot say."""
    try:
        return store.commands.get(command.id) or command
    except StoreUnavailableError:
        return command


def _rest() -> Rest:
    """A pause that ends when the present request's client says that nothing more will come from it.

    It may only have closed its sending half: it is still answered, at once.
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
