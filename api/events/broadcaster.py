"""Watching a run for all who follow it: one thread for each run, which lives only while somebody listens.

    store ──(one look, whoever listens)──> View ──> Watcher ──> Mailbox ──> stream of client 1
                                                          └──> Mailbox ──> stream of client 2 …

A look is made when the store has changed; a store that is locked or lost is tried again, and ends no stream.
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
from service.store.change_poll import ChangePoller
from service.store.event_replay import EventCursor
from service.store.store import RunRow, Store, StoreUnavailableError

EXTENSION = "leitstand.watchers"


TICK_SECONDS = 0.05
STATE_SECONDS = 0.5
"""Two states are at least so far apart."""
UNREADABLE = "the store cannot be read now; this goes on once it can"
READABLE = "the store can be read again"

logger = logging.getLogger(__name__)


class RunFollower:
    """A run as it was last read, and how far it has been followed; for one thread."""

    def __init__(self, find: Callable[[], RunContext]) -> None:
        """`find` gives access to the run. Raises `ProblemError` (not-found, no-run) or `StoreUnavailableError`."""
        self._find = find
        self.context = find()
        self.run = self.context.run()
        self.position = self.context.store.replay.latest_cursor(self.run.id)
        self._watch = ChangePoller(self.context.store, self.run.id)

    def is_due(self, now: float) -> bool:
        """Whether to look into the store at `now`, of a monotonic clock."""
        return self._watch.is_due(now)

    def poll(self) -> Iterator[list[StreamMessage]]:
        """What happened since the last look, a page at a time; another run than before is followed from its start.

        Raises `StoreUnavailableError` or `ProblemError` while the run cannot be read.
        """
        self._find_again()
        run = self.context.find_run()
        if run is None:  # one has been archived, and the next has not begun
            return
        if run.id != self.run.id:
            self.position = self.context.store.replay.start_cursor(run)
            self._watch = ChangePoller(self.context.store, run.id)
            yield [run_change(run, self.run.id, self.position)]
        self.run = run
        is_all = False
        while not is_all:
            messages, is_all = read_messages(self.context.store, self.position)
            if messages:
                self.position = messages[-1].position
                yield messages

    def state(self) -> "FollowedState":
        """Once all that was read has been handed out."""
        return FollowedState(self.context.store, self.run, self.position)

    def _find_again(self) -> None:
        """The default run may have become another, in another store."""
        context = self._find()
        if context.store is not self.context.store:
            self._watch = ChangePoller(context.store, self.run.id)
        self.context = context


class FollowedState(NamedTuple):
    """What the mailboxes know: which run it is, in which store, and how far it has been told."""

    store: Store
    run: RunRow
    position: EventCursor


class RunBroadcaster:
    """One run's thread and the mailboxes that it fills; safe to use from several threads."""

    def __init__(self, find: Callable[[], RunContext], is_ending: Callable[[], bool]) -> None:
        """`find` gives access to the run; once `is_ending` is true, all mailboxes are ended."""
        self._find = find
        self._is_ending = is_ending
        # Shared
        self._lock = threading.Lock()
        self._subscriptions: set[Subscription] = set()
        self._told: FollowedState | None = None
        # Of the thread
        self._shown = ""
        self._shown_at = 0.0
        self._is_unreadable = False

    @property
    def is_watching(self) -> bool:
        """Whether its thread lives."""
        return self._told is not None

    def open(self) -> Subscription:
        """A mailbox that gets everything from now on, with the present state in it.

        Raises `ProblemError` (not-found, no-run) or `StoreUnavailableError` for who comes first.
        """
        with self._lock:
            if self._told is None:
                view = RunFollower(self._find)
                self._told = view.state()
                self._shown, self._shown_at = state_data(view.run, time.time())[1], time.monotonic()
                threading.Thread(target=self._run, args=(view,), name="watcher", daemon=True).start()
            subscription = Subscription(self._told.position, state_data(self._told.run, time.time())[0])
            self._subscriptions.add(subscription)
        return subscription

    def open_again(self, subscription: Subscription) -> None:
        """Let a mailbox that has lost something take in what comes from now on."""
        with self._lock:
            if self._told is not None:
                subscription.begin_at(self._told.position)

    def store(self) -> Store | None:
        """Where the run is that the mailboxes are told of; None once nobody listens."""
        told = self._told
        return None if told is None else told.store

    def close(self, subscription: Subscription) -> None:
        """Nobody reads this one any more; with the last one, the thread ends."""
        with self._lock:
            self._subscriptions.discard(subscription)

    # The thread

    def _run(self, view: RunFollower) -> None:
        self._is_unreadable = False
        while self._goes_on():
            try:
                self._turn(view)
            except Exception:  # the boundary of the thread: a defect must not silence the streams for ever
                logger.exception("The watcher of run %s met an unexpected error; it goes on.", view.run.id)
                time.sleep(STATE_SECONDS)
            time.sleep(TICK_SECONDS)

    def _goes_on(self) -> bool:
        with self._lock:
            if self._is_ending():
                for subscription in self._subscriptions:
                    subscription.end()
                self._subscriptions.clear()
            if not self._subscriptions:
                self._told = None
            return self._told is not None

    def _turn(self, view: RunFollower) -> None:
        now = time.monotonic()
        if view.is_due(now):
            try:
                for messages in view.poll():
                    self._hand_out(view, messages)
                self._hand_out(view, [])
            except (StoreUnavailableError, ProblemError):
                self._note(is_unreadable=True)
            else:
                self._note(is_unreadable=False)
        if now >= self._shown_at + STATE_SECONDS:
            self._show(view, now)

    def _hand_out(self, view: RunFollower, messages: list[StreamMessage]) -> None:
        with self._lock:
            self._told = view.state()
            for subscription in self._subscriptions:
                subscription.push(messages)

    def _show(self, view: RunFollower, now: float) -> None:
        """Hand out the state if it differs; it may do so just because time goes by."""
        text, shown = state_data(view.run, time.time())
        if shown == self._shown:
            return
        with self._lock:
            for subscription in self._subscriptions:
                subscription.set_state(text)
        self._shown, self._shown_at = shown, now

    def _note(self, *, is_unreadable: bool) -> None:
        """Say once that the store cannot be read, and once that it can."""
        if is_unreadable == self._is_unreadable:
            return
        self._is_unreadable = is_unreadable
        with self._lock:
            for subscription in self._subscriptions:
                subscription.set_note(UNREADABLE if is_unreadable else READABLE)


class Broadcasters:
    """The watchers of a room by run, and the places of the streams that they serve."""

    def __init__(self, find: Callable[[str | None], RunContext], most_streams: int) -> None:
        """`find` gives access to a run by its id, or to the default one."""
        self.most_streams = most_streams
        self._find = find
        self._is_ending: Callable[[], bool] = lambda: False
        self._lock = threading.Lock()
        self._broadcasters: dict[str | None, RunBroadcaster] = {}
        self._taken = 0

    def end_when(self, is_ending: Callable[[], bool]) -> None:
        """Let all streams end once this is true."""
        self._is_ending = is_ending

    def take_place(self) -> bool:
        """Take one of the places for streams; False when all are taken."""
        with self._lock:
            if self._taken >= self.most_streams:
                return False
            self._taken += 1
            return True

    def give_place_back(self) -> None:
        """A stream has ended."""
        with self._lock:
            self._taken -= 1

    @property
    def taken(self) -> int:
        """How many places are taken."""
        return self._taken

    def of(self, run_id: str | None) -> RunBroadcaster:
        """The watcher of a run, or of the default one."""
        with self._lock:
            idle = [
                key for key, broadcaster in self._broadcasters.items() if key != run_id and not broadcaster.is_watching
            ]
            for key in idle:
                del self._broadcasters[key]
            if run_id not in self._broadcasters:
                self._broadcasters[run_id] = RunBroadcaster(partial(self._find, run_id), lambda: self._is_ending())
            return self._broadcasters[run_id]


def register(app: Flask, registry: RunRegistry, most_streams: int) -> None:
    """Let `app` follow the runs of a room, for at most so many streams at a time."""
    app.extensions[EXTENSION] = Broadcasters(registry.context, most_streams)


def broadcasters_of(app: Flask) -> Broadcasters:
    """What `register` made."""
    broadcasters = app.extensions[EXTENSION]
    assert isinstance(broadcasters, Broadcasters)
    return broadcasters
