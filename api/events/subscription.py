"""What a watcher has for one stream: bounded, and filled without ever waiting for the stream's client."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from api.events.messages import StreamMessage
from service.store.event_replay import EventCursor

MAX_WAITING = 256
"""Happenings that wait for a stream; when there are more, it reads them from the store instead."""


@dataclass(frozen=True)
class SubscriptionBatch:
    """What was in a mailbox: happenings in their order, the JSON of the state after them, a note for people.

    With `has_lost` there is nothing else: too much had come, and the rest is in the store.
    """

    messages: tuple[StreamMessage, ...] = ()
    state: str | None = None
    note: str | None = None
    has_lost: bool = False
    is_over: bool = False


class Subscription:
    """Filled by a watcher, emptied by one stream. Of states and notes only the latest is of interest.

    `position` is where the happenings follow on; all before is in the store.
    """

    def __init__(self, position: EventCursor, state: str) -> None:
        self.position = position
        self._changed = threading.Condition()
        self._messages: list[StreamMessage] = []
        self._state: str | None = state
        self._note: str | None = None
        self._has_lost = False
        self._is_over = False

    def push(self, messages: Iterable[StreamMessage]) -> None:
        """Add what happened."""
        with self._changed:
            if not self._has_lost:
                self._messages += messages
                self._has_lost = len(self._messages) > MAX_WAITING
            if self._has_lost:
                self._messages.clear()
            self._changed.notify()

    def set_state(self, state: str) -> None:
        """Put the state, as JSON, in the place of an earlier one."""
        with self._changed:
            self._state = state
            self._changed.notify()

    def set_note(self, note: str) -> None:
        """Put a note in the place of an earlier one."""
        with self._changed:
            self._note = note
            self._changed.notify()

    def end(self) -> None:
        """Nothing more will come."""
        with self._changed:
            self._is_over = True
            self._changed.notify()

    def begin_at(self, position: EventCursor) -> None:
        """Take in happenings again after too many had come; those before `position` are in the store."""
        with self._changed:
            self.position = position
            self._messages.clear()
            self._has_lost = False

    def poll(self, seconds: float) -> SubscriptionBatch:
        """Everything in it, at the latest after so many seconds; perhaps nothing."""
        with self._changed:
            if self._is_empty:
                self._changed.wait(seconds)
            if self._has_lost and not self._is_over:
                return SubscriptionBatch(has_lost=True)
            found = SubscriptionBatch(tuple(self._messages), self._state, self._note, is_over=self._is_over)
            self._messages.clear()
            self._state = self._note = None
        return found

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self._is_over

    @property
    def _is_empty(self) -> bool:
        return not (self._messages or self._has_lost or self._is_over) and self._state is None and self._note is None
