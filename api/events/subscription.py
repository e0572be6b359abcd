"""Bounded queue between a run's broadcaster and one client; pushing never blocks."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from api.events.messages import StreamMessage
from service.store.event_replay import EventCursor

MAX_QUEUED_MESSAGES = 256
"""Capacity of the queue; on overflow the stream reads the messages from the store instead."""


@dataclass(frozen=True)
class SubscriptionBatch:
    """Content of a queue: messages in order, the state after them as JSON, and a note for people.

    With `has_overflowed` everything else is empty: the messages must be read from the store.
    """

    messages: tuple[StreamMessage, ...] = ()
    state: str | None = None
    note: str | None = None
    has_overflowed: bool = False
    has_ended: bool = False


class Subscription:
    """Queue filled by a broadcaster and emptied by one stream; keeps only the latest state and note.

    Queued messages follow `position`; all earlier ones are in the store.
    """

    def __init__(self, position: EventCursor, state: str) -> None:
        self.position = position
        self._changed = threading.Condition()
        self._messages: list[StreamMessage] = []
        self._state: str | None = state
        self._note: str | None = None
        self._has_overflowed = False
        self._has_ended = False

    def push(self, messages: Iterable[StreamMessage]) -> None:
        """Add messages; if there are too many, drop all and mark the subscription as overflowed."""
        with self._changed:
            if not self._has_overflowed:
                self._messages += messages
                self._has_overflowed = len(self._messages) > MAX_QUEUED_MESSAGES
            if self._has_overflowed:
                self._messages.clear()
            self._changed.notify()

    def set_state(self, state: str) -> None:
        """Replace the queued state (JSON)."""
        with self._changed:
            self._state = state
            self._changed.notify()

    def set_note(self, note: str) -> None:
        """Replace the queued note."""
        with self._changed:
            self._note = note
            self._changed.notify()

    def end(self) -> None:
        """Mark the subscription as ended."""
        with self._changed:
            self._has_ended = True
            self._changed.notify()

    def resume_at(self, position: EventCursor) -> None:
        """Accept messages again after an overflow; those before `position` are in the store."""
        with self._changed:
            self.position = position
            self._messages.clear()
            self._has_overflowed = False

    def poll(self, seconds: float) -> SubscriptionBatch:
        """Remove and return the queue's content; waits up to `seconds` if it is empty, and may return nothing."""
        with self._changed:
            if self._is_empty:
                self._changed.wait(seconds)
            if self._has_overflowed and not self._has_ended:
                return SubscriptionBatch(has_overflowed=True)
            batch = SubscriptionBatch(tuple(self._messages), self._state, self._note, has_ended=self._has_ended)
            self._messages.clear()
            self._state = self._note = None
        return batch

    @property
    def has_ended(self) -> bool:
        """Whether the broadcaster has ended the subscription."""
        return self._has_ended

    @property
    def _is_empty(self) -> bool:
        return (
            not (self._messages or self._has_overflowed or self._has_ended)
            and self._state is None
            and self._note is None
        )
