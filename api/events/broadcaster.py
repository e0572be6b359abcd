"""Broadcasts the events of a run to all subscribers: one thread per run, which ends with the last subscription.

    store ──(one poll for all)──> RunFollower ──> RunBroadcaster ──> Subscription ──> EventStream of client 1
                                                               └──> Subscription ──> EventStream of client 2 …

The store is read only after it changed. A locked or unreachable store is polled again and ends no stream.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from flask import Flask

from api.events.messages import StreamMessage, read_messages, run_change, state_data
from api.events.subscription import Subscription
from api.http.problems import ProblemError
from api.runs.context import RunContext
from api.runs.registry import RunRegistry
from service.background_thread import BackgroundThread, ErrorBoundary, OngoingProblem
from service.store.change_poll import ChangePoller
from service.store.event_replay import EventCursor
from service.store.store import RunRow, Store, StoreUnavailableError

EXTENSION = "leitstand.broadcasters"


TICK_SECONDS = 0.05
STATE_SECONDS = 0.5
"""Minimum time between two states."""
UNREADABLE = "the store cannot be read now; this goes on once it can"
READABLE = "the store can be read again"

logger = logging.getLogger(__name__)


class RunFollower:
    """Reads the new events of one run; holds the run as last read and the position reached. Used by one thread."""

    def __init__(self, find: Callable[[], RunContext]) -> None:
        """Start at the current end of the run that `find` returns.

        Raises `ProblemError` (not-found, no-run) or `StoreUnavailableError`.
        """
        self._find = find
        self.context = find()
        self.run = self.context.run()
        self.position = self.context.store.replay.latest_cursor(self.run.id)
        self._poller = ChangePoller(self.context.store, self.run.id)

    def is_due(self, now: float) -> bool:
        """Whether the store should be read at the monotonic time `now`."""
        return self._poller.is_due(now)

    def poll(self) -> Iterator[list[StreamMessage]]:
        """Yield the messages since the last poll, page by page; a new run is followed from its start.

        Raises `StoreUnavailableError` or `ProblemError` while the run cannot be read.
        """
        self._refresh_context()
        run = self.context.find_run()
        if run is None:  # one run was archived and the next has not started
            return
        if run.id != self.run.id:
            self.position = self.context.store.replay.start_cursor(run)
            self._poller = ChangePoller(self.context.store, run.id)
            yield [run_change(run, self.run.id, self.position)]
        self.run = run
        is_complete = False
        while not is_complete:
            messages, is_complete = read_messages(self.context.store, self.position)
            if messages:
                self.position = messages[-1].position
                yield messages

    def state(self) -> "FollowedState":
        """Return the current run, its store and the position reached."""
        return FollowedState(self.context.store, self.run, self.position)

    def _refresh_context(self) -> None:
        """Update the context: the default run may now be another one, in another store."""
        context = self._find()
        if context.store is not self.context.store:
            self._poller = ChangePoller(context.store, self.run.id)
        self.context = context


class FollowedState(NamedTuple):
    """State published to all subscriptions: the run, its store, and the position reached."""

    store: Store
    run: RunRow
    position: EventCursor

    def data(self) -> tuple[str, str]:
        """Return the present state as JSON, with and without what grows."""
        now, ledgers = self.store.runs.now(self.run), self.store.ledgers
        try:
            ledger = ledgers.of(self.run, now)
        except StoreUnavailableError:  # the state changes by the passing of time too
            ledger = ledgers.last_known(self.run, now)
        return state_data(self.run, now, ledger)


class RunBroadcaster:
    """Thread of one run and the subscriptions that it fills; thread-safe."""

    def __init__(self, find: Callable[[], RunContext], is_ending: Callable[[], bool]) -> None:
        """Create an idle broadcaster for the run that `find` returns; ends all subscriptions once `is_ending()`."""
        self._find = find
        self._is_ending = is_ending
        # Shared between threads
        self._lock = threading.Lock()
        self._subscriptions: set[Subscription] = set()
        self._published: FollowedState | None = None
        # Used by the broadcaster's thread only
        self._published_state = ""
        self._published_state_at = 0.0
        self._outage = OngoingProblem()
        self._boundary = ErrorBoundary(logger)

    @property
    def is_running(self) -> bool:
        """Whether the broadcaster's thread is running."""
        return self._published is not None

    def subscribe(self) -> Subscription:
        """Return a new subscription to all later messages, which holds the current state.

        The first subscription starts the thread; raises `ProblemError` (not-found, no-run) or `StoreUnavailableError`.
        """
        with self._lock:
            if self._published is None:
                follower = RunFollower(self._find)
                self._published = follower.state()
                self._published_state, self._published_state_at = self._published.data()[1], time.monotonic()
                self._start(follower)
            subscription = Subscription(self._published.position, self._published.data()[0])
            self._subscriptions.add(subscription)
        return subscription

    def resume(self, subscription: Subscription) -> None:
        """Resume a subscription that has overflowed, from the position published last."""
        with self._lock:
            if self._published is not None:
                subscription.resume_at(self._published.position)

    def store(self) -> Store | None:
        """Return the store of the published run; None if there are no subscriptions."""
        published = self._published
        return None if published is None else published.store

    def unsubscribe(self, subscription: Subscription) -> None:
        """Remove a subscription; the thread ends with the last one."""
        with self._lock:
            self._subscriptions.discard(subscription)

    def _start(self, follower: RunFollower) -> None:
        self._outage = OngoingProblem()
        BackgroundThread(
            "broadcaster",
            partial(self._poll_safely, follower),
            interval_seconds=TICK_SECONDS,
            runs_immediately=True,
            is_over=lambda: not self._should_continue(),
            boundary=self._boundary,
            error_message="A broadcaster met an unexpected error; it goes on.",
        ).start()

    # The broadcaster's thread

    def _poll_safely(self, follower: RunFollower) -> None:
        """Poll once; a defect must not stop the streams for ever, and lets the next poll come later."""
        is_done = False
        with self._boundary.guard("The watcher of run %s met an unexpected error; it goes on.", follower.run.id):
            self._poll_once(follower)
            is_done = True
        if not is_done:
            time.sleep(STATE_SECONDS)

    def _should_continue(self) -> bool:
        with self._lock:
            if self._is_ending():
                for subscription in self._subscriptions:
                    subscription.end()
                self._subscriptions.clear()
            if not self._subscriptions:
                self._published = None
            return self._published is not None

    def _poll_once(self, follower: RunFollower) -> None:
        now = time.monotonic()
        if follower.is_due(now):
            try:
                for messages in follower.poll():
                    self._publish(follower, messages)
                self._publish(follower, [])
            except (StoreUnavailableError, ProblemError):
                if self._outage.begin():
                    self._publish_note(UNREADABLE)
            else:
                if self._outage.end():
                    self._publish_note(READABLE)
        if now >= self._published_state_at + STATE_SECONDS:
            self._publish_state(follower, now)

    def _publish(self, follower: RunFollower, messages: list[StreamMessage]) -> None:
        with self._lock:
            self._published = follower.state()
            for subscription in self._subscriptions:
                subscription.push(messages)

    def _publish_state(self, follower: RunFollower, now: float) -> None:
        """Publish the state if it has changed; it may change by the passing of time alone."""
        state, comparable = follower.state().data()
        if comparable == self._published_state:
            return
        with self._lock:
            for subscription in self._subscriptions:
                subscription.set_state(state)
        self._published_state, self._published_state_at = comparable, now

    def _publish_note(self, text: str) -> None:
        with self._lock:
            for subscription in self._subscriptions:
                subscription.set_note(text)


class Broadcasters:
    """Broadcasters by run, and the limit for concurrent streams; thread-safe."""

    def __init__(self, find: Callable[[str | None], RunContext], max_streams: int) -> None:
        """Allow `max_streams` streams; `find` returns the context of a run by its id, of the default run for None."""
        self.max_streams = max_streams
        self._find = find
        self._is_ending: Callable[[], bool] = lambda: False
        self._lock = threading.Lock()
        self._broadcasters: dict[str | None, RunBroadcaster] = {}
        self._slots_in_use = 0

    def end_when(self, is_ending: Callable[[], bool]) -> None:
        """End all streams once `is_ending()` is true."""
        self._is_ending = is_ending

    def acquire_slot(self) -> bool:
        """Reserve one of the stream slots; returns False if all are in use."""
        with self._lock:
            if self._slots_in_use >= self.max_streams:
                return False
            self._slots_in_use += 1
            return True

    def release_slot(self) -> None:
        """Release the slot of a stream that has ended."""
        with self._lock:
            self._slots_in_use -= 1

    @property
    def slots_in_use(self) -> int:
        """Number of stream slots in use."""
        return self._slots_in_use

    def of(self, run_id: str | None) -> RunBroadcaster:
        """Return the broadcaster of a run, of the default run for None; drops idle ones of other runs."""
        with self._lock:
            idle = [
                key for key, broadcaster in self._broadcasters.items() if key != run_id and not broadcaster.is_running
            ]
            for key in idle:
                del self._broadcasters[key]
            if run_id not in self._broadcasters:
                self._broadcasters[run_id] = RunBroadcaster(partial(self._find, run_id), lambda: self._is_ending())
            return self._broadcasters[run_id]


def register(app: Flask, registry: RunRegistry, max_streams: int) -> None:
    """Give `app` the broadcasters of the registry's runs, for at most `max_streams` concurrent streams."""
    app.extensions[EXTENSION] = Broadcasters(registry.context, max_streams)


def broadcasters_of(app: Flask) -> Broadcasters:
    """Return the broadcasters that `register` gave to `app`."""
    broadcasters = app.extensions[EXTENSION]
    assert isinstance(broadcasters, Broadcasters)
    return broadcasters
