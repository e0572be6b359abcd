"""Waiting for a command's end within a request: no store connection is held, and most threads stay free for others."""

import threading
import time

from service.change_watch import ChangeWatch
from service.commands import Command
from service.store import Store, StoreUnavailableError

MOST_WAITING = 32
"""Requests that may wait at a time: half of the server's threads. Others are answered at once."""
POLL_SECONDS = 0.02

_places = threading.BoundedSemaphore(MOST_WAITING)


def await_end(store: Store, command: Command, seconds: float) -> Command:
    """The command once it is final, or as it stands after `seconds`.

    It was accepted already, so a store that cannot be read meanwhile is no failure: it is asked again.
    """
    if seconds <= 0 or not _places.acquire(blocking=False):
        return command
    try:
        return _followed(store, command, time.monotonic() + seconds)
    finally:
        _places.release()


def _followed(store: Store, command: Command, deadline: float) -> Command:
    watch = ChangeWatch(store)
    while not command.state.is_final and (now := time.monotonic()) < deadline:
        if watch.is_due(now):
            command = _present(store, command)
        else:
            time.sleep(min(POLL_SECONDS, deadline - now))
    return command


def _present(store: Store, command: Command) -> Command:
    """How the command stands; as before when the store cannot say."""
    try:
        return store.command(command.id) or command
    except StoreUnavailableError:
        return command
