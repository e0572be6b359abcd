"""One client's event stream: first what it missed, read from the store, then what its watcher hands out."""

import socket
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from flask import request

from api.events.broadcaster import Broadcasters, RunBroadcaster
from api.events.messages import ALWAYS, StreamMessage, comment, event_text, gap, heartbeat, hello, read_messages
from api.events.subscription import SubscriptionBatch
from api.http.problems import ProblemError
from service.store.event_replay import EventCursor
from service.store.store import Store, StoreUnavailableError

HEARTBEAT_SECONDS = 10.0
TURN_SECONDS = 1.0
"""How soon it is seen that the client is gone."""
RETRY_MILLISECONDS = 2000
"""How long a client is asked to wait before it comes back."""
LONGEST_SECONDS = 3600.0
"""A stream ends then: who comes back has to show a token that is still good."""
MAX_REPLAYED = 2000
"""Log points that are replayed; who missed more asks /series for them."""
FOREIGN = "the id that was given is of another run, or not known here; this begins with the present"
ENDS = "the server ends this stream; come back with the last id"
UNREADABLE = "the store cannot be read now; what you missed comes once it can"


@dataclass(frozen=True)
class StreamRequest:
    """What a client asked for; without a position, what happens from now on."""

    kinds: Collection[str]
    position: EventCursor | None


class EventStream:
    """The pieces of one stream, for one thread: a store that cannot be read is waited for."""

    def __init__(
        self, broadcaster: RunBroadcaster, stream_request: StreamRequest, client: socket.socket | None
    ) -> None:
        """`client` is looked at to see that it is gone, if it is known.

        Raises `ProblemError` (not-found, no-run) or `StoreUnavailableError`.
        """
        self._broadcaster = broadcaster
        self._client = client
        self._kinds = {*stream_request.kinds, *ALWAYS}
        self._subscription = broadcaster.open()
        is_known = stream_request.position is None or _is_known(stream_request.position, self._subscription.position)
        self._greeting = b"" if is_known else comment(FOREIGN)
        self._position = (
            stream_request.position if stream_request.position and is_known else self._subscription.position
        )
        self._is_lost = False
        self._began_at = self._sent_at = time.monotonic()

    def close(self) -> None:
        """Let the watcher forget this stream."""
        self._broadcaster.close(self._subscription)

    def pieces(self) -> Iterator[bytes]:
        """What to send, piece by piece, until the client is gone or has to come again."""
        yield hello(self._position, RETRY_MILLISECONDS) + self._greeting
        yield from self._catch_up()
        while self._goes_on():
            delivery = self._subscription.poll(TURN_SECONDS)
            if delivery.has_lost:
                self._broadcaster.open_again(self._subscription)
                yield from self._catch_up()
            elif piece := self._delivered(delivery) or self._sign_of_life():
                self._sent_at = time.monotonic()
                yield piece
        yield comment(ENDS)

    def _goes_on(self) -> bool:
        is_long = time.monotonic() > self._began_at + LONGEST_SECONDS
        return not (self._subscription.is_over or self._is_lost or is_long or _is_gone(self._client))

    # What was missed

    def _catch_up(self) -> Iterator[bytes]:
        """Everything between this stream's position and what its mailbox takes in."""
        target, is_all = self._subscription.position, self._position == self._subscription.position
        # Another run has come meanwhile: who comes back begins with that one.
        self._is_lost = target.run_id != self._position.run_id
        while not is_all and self._goes_on():
            store = self._broadcaster.store()
            try:
                messages, is_all = ([], True) if store is None else self._page(store, target)
            except StoreUnavailableError:
                yield comment(UNREADABLE)
                time.sleep(TURN_SECONDS)
                continue
            if piece := self._passed(messages):
                yield piece
        self._position = self._position if self._is_lost else target

    def _page(self, store: Store, target: EventCursor) -> tuple[list[StreamMessage], bool]:
        """The next of what was missed up to `target`, and whether that was all."""
        left_out = []
        if "log" not in self._kinds:  # nor does a journal that walks steps again bring their log points back
            self._position = replace(self._position, next_step=max(self._position.next_step, target.next_step))
        if self._position.next_step < target.next_step and store.replay.has_more_points(self._position, MAX_REPLAYED):
            left_out = [gap(self._position, target.next_step - 1)]
            self._position = left_out[0].position
        messages, is_all = read_messages(store, self._position, target)
        return left_out + messages, is_all

    # What comes

    def _delivered(self, delivery: SubscriptionBatch) -> bytes:
        piece = self._passed(delivery.messages)
        if delivery.state is not None and "state" in self._kinds:
            piece += event_text("state", delivery.state, self._position)
        return piece if delivery.note is None else piece + comment(delivery.note)

    def _sign_of_life(self) -> bytes:
        return heartbeat(self._position) if time.monotonic() >= self._sent_at + HEARTBEAT_SECONDS else b""

    def _passed(self, messages: Sequence[StreamMessage]) -> bytes:
        """Those of the kinds that were asked for; what follows comes after all of them."""
        if messages:
            self._position = messages[-1].position
        return b"".join(message.text for message in messages if message.kind in self._kinds)


def _is_known(position: EventCursor, present: EventCursor) -> bool:
    """Whether this was a position of the run that is followed now."""
    return position.run_id == present.run_id and position.event_id <= present.event_id


def _is_gone(client: socket.socket | None) -> bool:
    """Whether the other side has closed the connection, as far as it says so."""
    if client is None:
        return False
    try:
        return client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


RETRY_SECONDS = 5
"""When a stream may be free again: most are short."""


class LimitedStream:
    """A stream that holds one of the places for streams until it is closed, even if it was never begun."""

    def __init__(self, broadcasters: Broadcasters, run_id: str | None, stream_request: StreamRequest) -> None:
        """Raises `ProblemError` (too-many-streams, not-found, no-run) or `StoreUnavailableError`."""
        if not broadcasters.take_place():
            most = broadcasters.most_streams
            raise ProblemError(
                "too-many-streams",
                f"All {most} event streams are taken; close one, come again, or raise API_STREAMS.",
                {"Retry-After": str(RETRY_SECONDS)},
            )
        self._broadcasters = broadcasters
        self._is_closed = False
        try:
            self._stream = EventStream(broadcasters.of(run_id), stream_request, request.environ.get("gunicorn.socket"))
        except BaseException:
            broadcasters.give_place_back()
            raise

    def __iter__(self) -> Iterator[bytes]:
        return self._stream.pieces()

    def close(self) -> None:
        """Give the place back; the WSGI server does this in any case."""
        if not self._is_closed:
            self._is_closed = True
            self._stream.close()
            self._broadcasters.give_place_back()
