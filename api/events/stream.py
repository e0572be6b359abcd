"""Event stream of one client: first the missed messages from the store, then those of its subscription."""

import socket
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from flask import request

from api.events.broadcaster import Broadcasters, RunBroadcaster
from api.events.messages import ALWAYS, StreamMessage, comment, event_text, gap, heartbeat, preamble, read_messages
from api.events.subscription import SubscriptionBatch
from api.http.compression import gzipped_pieces
from api.http.problems import ProblemError
from service.store.event_replay import EventCursor
from service.store.store import Store, StoreUnavailableError

HEARTBEAT_SECONDS = 10.0
POLL_SECONDS = 1.0
"""Maximum time until a disconnected client is detected."""
RETRY_MILLISECONDS = 2000
"""Time that a client should wait before it reconnects."""
MAX_STREAM_SECONDS = 3600.0
"""Maximum duration of a stream: a client that reconnects must present a valid token again."""
MAX_REPLAYED_POINTS = 2000
"""Maximum number of replayed log points; a client that missed more reads /series instead."""
UNKNOWN_ID = "the id that was given is of another run, or not known here; this begins with the present"
ENDS = "the server ends this stream; come back with the last id"
UNREADABLE = "the store cannot be read now; what you missed comes once it can"


@dataclass(frozen=True)
class StreamRequest:
    """Kinds and position that a client requested; without a position, the stream starts now."""

    kinds: Collection[str]
    position: EventCursor | None


class EventStream:
    """Body of one stream, used by one thread; waits for the store while it cannot be read."""

    def __init__(
        self, broadcaster: RunBroadcaster, stream_request: StreamRequest, client: socket.socket | None
    ) -> None:
        """Subscribe to `broadcaster`; the socket `client`, if known, is used to detect a disconnect.

        Raises `ProblemError` (not-found, no-run) or `StoreUnavailableError`.
        """
        self._broadcaster = broadcaster
        self._client = client
        self._kinds = {*stream_request.kinds, *ALWAYS}
        self._subscription = broadcaster.subscribe()
        is_known = stream_request.position is None or _is_known(stream_request.position, self._subscription.position)
        self._note = b"" if is_known else comment(UNKNOWN_ID)
        self._position = (
            stream_request.position if stream_request.position and is_known else self._subscription.position
        )
        self._has_run_changed = False
        self._began_at = self._sent_at = time.monotonic()

    def close(self) -> None:
        """Cancel the subscription of this stream."""
        self._broadcaster.unsubscribe(self._subscription)

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes to send, until the client disconnects or must reconnect."""
        yield preamble(self._position, RETRY_MILLISECONDS) + self._note
        yield from self._catch_up()
        while self._should_continue():
            batch = self._subscription.poll(POLL_SECONDS)
            if batch.has_overflowed:
                self._broadcaster.resume(self._subscription)
                yield from self._catch_up()
            elif chunk := self._batch_bytes(batch) or self._heartbeat_if_due():
                self._sent_at = time.monotonic()
                yield chunk
        yield comment(ENDS)

    def _should_continue(self) -> bool:
        is_expired = time.monotonic() > self._began_at + MAX_STREAM_SECONDS
        return not (
            self._subscription.has_ended or self._has_run_changed or is_expired or _is_disconnected(self._client)
        )

    # Missed messages

    def _catch_up(self) -> Iterator[bytes]:
        """Yield all messages between this stream's position and the start of its subscription."""
        target, is_complete = self._subscription.position, self._position == self._subscription.position
        # If another run has started meanwhile, the client must reconnect, and then starts with that run.
        self._has_run_changed = target.run_id != self._position.run_id
        while not is_complete and self._should_continue():
            store = self._broadcaster.store()
            try:
                messages, is_complete = ([], True) if store is None else self._missed_page(store, target)
            except StoreUnavailableError:
                yield comment(UNREADABLE)
                time.sleep(POLL_SECONDS)
                continue
            if chunk := self._requested_bytes(messages):
                yield chunk
        self._position = self._position if self._has_run_changed else target

    def _missed_page(self, store: Store, target: EventCursor) -> tuple[list[StreamMessage], bool]:
        """Return the next page of missed messages up to `target`, and whether it is the last page."""
        gaps = []
        if "log" not in self._kinds:  # skip log points, also those of steps repeated after a rollback
            self._position = replace(self._position, next_step=max(self._position.next_step, target.next_step))
        if self._position.next_step < target.next_step and store.replay.has_more_points(
            self._position, MAX_REPLAYED_POINTS
        ):
            gaps = [gap(self._position, target.next_step - 1)]
            self._position = gaps[0].position
        messages, is_complete = read_messages(store, self._position, target)
        return gaps + messages, is_complete

    # New messages

    def _batch_bytes(self, batch: SubscriptionBatch) -> bytes:
        chunk = self._requested_bytes(batch.messages)
        if batch.state is not None and "state" in self._kinds:
            chunk += event_text("state", batch.state, self._position)
        return chunk if batch.note is None else chunk + comment(batch.note)

    def _heartbeat_if_due(self) -> bytes:
        return heartbeat(self._position) if time.monotonic() >= self._sent_at + HEARTBEAT_SECONDS else b""

    def _requested_bytes(self, messages: Sequence[StreamMessage]) -> bytes:
        """Return the bytes of the messages of the selected kinds, and advance the position past all messages."""
        if messages:
            self._position = messages[-1].position
        return b"".join(message.text for message in messages if message.kind in self._kinds)


def _is_known(position: EventCursor, current: EventCursor) -> bool:
    """Whether the position belongs to the current run and is not after its end."""
    return position.run_id == current.run_id and position.event_id <= current.event_id


def _is_disconnected(client: socket.socket | None) -> bool:
    """Whether the client has closed the connection, as far as the socket can detect it."""
    if client is None:
        return False
    try:
        return client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


RETRY_SECONDS = 5
"""Retry-After if all streams are in use: most streams are short."""


class LimitedStream:
    """Stream that holds one of the stream slots until it is closed, even if it was never started."""

    def __init__(
        self,
        broadcasters: Broadcasters,
        run_id: str | None,
        stream_request: StreamRequest,
        *,
        is_compressed: bool = False,
    ) -> None:
        """Reserve a slot and subscribe. With `is_compressed`, the bytes are gzip.

        Raises `ProblemError` (too-many-streams, not-found, no-run) or `StoreUnavailableError`.
        """
        if not broadcasters.acquire_slot():
            maximum = broadcasters.max_streams
            raise ProblemError(
                "too-many-streams",
                f"All {maximum} event streams are taken; close one, come again, or raise API_STREAMS.",
                {"Retry-After": str(RETRY_SECONDS)},
            )
        self._broadcasters = broadcasters
        self._is_compressed = is_compressed
        self._is_closed = False
        try:
            self._stream = EventStream(broadcasters.of(run_id), stream_request, request.environ.get("gunicorn.socket"))
        except BaseException:
            broadcasters.release_slot()
            raise

    def __iter__(self) -> Iterator[bytes]:
        chunks = self._stream.chunks()
        return gzipped_pieces(chunks) if self._is_compressed else chunks

    def close(self) -> None:
        """Cancel the subscription and release the slot; the WSGI server calls this in any case."""
        if not self._is_closed:
            self._is_closed = True
            self._stream.close()
            self._broadcasters.release_slot()
