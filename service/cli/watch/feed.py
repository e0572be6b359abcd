"""Brings what the API says to the view: events as they happen on one thread, and what has no events on another.

If events cannot be delivered, the second thread asks more often and brings the curves too. It also asks while they are
delivered: only an answer says how old the trainer's last sign of life is, and what every rank does.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any

import requests

from service.background_thread import BackgroundThread, ErrorBoundary
from service.cli.watch.updates import (
    AlertsSeen,
    CurvesSeen,
    EventSeen,
    HistorySeen,
    RanksSeen,
    RightsSeen,
    StateSeen,
    StreamSeen,
    Trouble,
    Update,
)
from service.cli.watch.view import DRAWN
from service.client.client import ApiError, Client
from service.commands import Kind
from service.errors import UserError

POLL_SECONDS = 1.0
POLLS_WITH_STREAM = 2
"""With open stream, only every so manieth poll asks."""
STREAM_PAUSE_SECONDS = 10.0
"""Pause before a stream that was refused is asked for again."""
MIN_POINTS, MAX_POINTS = 80, 2000
RECENT_COMMANDS, RECENT_RECORDS = 50, 20

logger = logging.getLogger(__name__)

Connect = Callable[..., Client]


class FeedClosedError(UserError):
    """The view has ended; no further request is sent."""


class StreamClient(Client):
    """A client whose open stream can be ended from another thread, and that says when it opens and breaks off."""

    on_stream: Callable[[bool], None]
    _stream: requests.Response | None = None
    _is_closed = False

    def end_stream(self) -> None:
        """End the stream and let every later request fail. May be called from any thread."""
        self._is_closed = True
        connection = getattr(getattr(self._stream, "raw", None), "connection", None)
        if (sock := getattr(connection, "sock", None)) is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:  # it has ended by itself
                return

    def _send(self, *arguments: Any, **options: Any) -> requests.Response:
        self.on_stream(False)
        if self._is_closed:
            raise FeedClosedError("The view has ended.")
        self._stream = super()._send(*arguments, **options)
        self.on_stream(True)
        return self._stream


class Inbox:
    """Updates from the feed's threads, for the thread of the view. `notify` is called when one has come."""

    def __init__(self) -> None:
        self.notify: Callable[[], object] = lambda: None
        self._updates: SimpleQueue[Update] = SimpleQueue()

    def put(self, update: Update) -> None:
        """Add an update; safe to call from any thread."""
        self._updates.put(update)
        self.notify()

    def drain(self) -> list[Update]:
        """Return the updates that have come, in their order."""
        updates = []
        while True:
            try:
                updates.append(self._updates.get_nowait())
            except Empty:
                return updates


class Feed:
    """The two threads that hand updates to `on_update`, which must be safe to call from any thread."""

    def __init__(self, connect: Connect, on_update: Callable[[Update], None], points: int = 400) -> None:
        """Use `connect` to make a client of a given class; nothing is asked before `start`."""
        self._client = connect()
        stream_client = connect(StreamClient)
        assert isinstance(stream_client, StreamClient)
        stream_client.on_stream = self._note_stream
        self._stream_client = stream_client
        self._on_update = on_update
        self._points = points
        self._is_streaming = self._is_closed = False
        self._wants_curves = self._wants_history = self._wants_rights = True
        self._ticks = 0
        self._start: tuple[str, float] | None = None
        self._log_point: int | None = None
        self._polls = BackgroundThread(
            "watch polls", self._poll, boundary=ErrorBoundary(logger, once=True), error_message="The view asks again.",
            interval_seconds=POLL_SECONDS, runs_immediately=True,
        )  # fmt: skip
        self._events = threading.Thread(target=self._follow, name="watch events", daemon=True)
        self._pause = threading.Event()

    def start(self) -> None:
        """Start both threads."""
        self._polls.start()
        self._events.start()

    def close(self) -> None:
        """End both threads; one that waits for an answer ends after it."""
        self._is_closed = True
        self._pause.set()
        self._stream_client.end_stream()
        self._polls.close(0)

    def fetch_curves(self, points: int | None = None) -> None:
        """Ask for the curves again, at once; as about `points` stretches from now on."""
        self._points = min(MAX_POINTS, max(MIN_POINTS, points or self._points))
        self._wants_curves = True
        self._polls.wake()

    def poll_soon(self) -> None:
        """Ask now rather than at the next time."""
        self._ticks = 0
        self._polls.wake()

    def _tell(self, update: Update) -> None:
        if not self._is_closed:
            self._on_update(update)

    # The thread `watch events`

    def _follow(self) -> None:
        kinds = ("state", "log", "record", "command", "alert", "event")
        while not self._is_closed:
            try:
                for event in self._stream_client.events(kinds):
                    now = time.time()
                    self._tell(StateSeen(event.data, now) if event.kind == "state" else EventSeen(event, now))
                    if event.kind == "alert":
                        self.poll_soon()
            except FeedClosedError:
                return
            except UserError:
                # The other thread meets the same trouble and tells it.
                self._note_stream(False)
                self._pause.wait(STREAM_PAUSE_SECONDS)

    def _note_stream(self, is_open: bool) -> None:
        if is_open is not self._is_streaming:
            self._is_streaming = is_open
            self._tell(StreamSeen(is_open))

    # The thread `watch polls`

    def _poll(self) -> None:
        is_due = not self._is_streaming or self._ticks % POLLS_WITH_STREAM == 0
        self._ticks += 1
        if not (is_due or self._wants_curves):
            return
        try:
            self._ask()
        except UserError as error:
            self._tell(Trouble(error))

    def _ask(self) -> None:
        state = self._client.state()
        self._tell(StateSeen(state, time.time()))
        self._note_start((state["run_id"], state["started_at"]))
        has_new_point = state["step_current"] != self._log_point
        if self._wants_curves or (has_new_point and not self._is_streaming):
            self._ask_for_curves()
        self._log_point = state["step_current"]
        self._tell(RanksSeen(self._client.ranks()["ranks"], time.time()))
        if self._wants_history:
            commands = list(islice(self._client.commands(page_size=RECENT_COMMANDS), RECENT_COMMANDS))
            self._tell(HistorySeen(commands, self._client.statistics(RECENT_RECORDS)["records"]))
            self._wants_history = False
        self._tell(AlertsSeen(self._client.alerts()["alerts"], time.time()))
        if self._wants_rights:
            self._tell(RightsSeen(self._may_act()))
            self._wants_rights = False

    def _note_start(self, start: tuple[str, float]) -> None:
        """Ask for everything anew if this is another run than before, or another start of it."""
        if self._start is not None and start != self._start:
            self._wants_history = self._wants_curves = True
        self._start = start

    def _ask_for_curves(self) -> None:
        self._wants_curves = False
        try:
            self._tell(CurvesSeen(self._client.envelope(DRAWN, self._points)))
        except UserError:
            self._wants_curves = True
            raise

    def _may_act(self) -> bool:
        """Return False if the token may only read: a dry run is refused for no other reason in the same way."""
        try:
            self._client.submit(Kind.VALIDATE, dry_run=True)
        except ApiError as error:
            return error.slug != "insufficient-scope"
        return True
