"""Watching a run: one thread and one look for all who listen, and none when nobody does."""

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask import Flask

from api.events import broadcaster, subscription
from api.events.broadcaster import Broadcasters, RunBroadcaster
from api.events.messages import StreamMessage
from api.events.subscription import Subscription
from api.http.problems import ProblemError
from api.runs.cached_directory import CachedRunDirectory
from api.runs.context import RunContext
from api.runs.registry import RunRegistry
from service.run.directory import RunDirectory
from service.run.state import RunState
from service.store.event_replay import EventCursor
from service.store.store import RunRow, Store, StoreUnavailableError
from tests.api.conftest import keep_alive, on_both_databases
from tests.api.harness.example_run import RUN_ID

Eventually = Callable[..., None]


class CountingReader(RunContext):
    """Counts the looks into the store."""

    looks = 0

    def find_run(self) -> RunRow | None:
        type(self).looks += 1
        return super().find_run()


@pytest.fixture
def store(store: Store) -> Store:
    """A run whose trainer seems to live for ever, and writes nothing by itself."""
    keep_alive(store)
    return store


@pytest.fixture
def watched(make_app: Callable[..., Flask]) -> Iterator[RunBroadcaster]:
    CountingReader.looks = 0
    registry: RunRegistry = make_app().extensions["leitstand"]
    ending = threading.Event()

    def find() -> CountingReader:
        context = registry.context()
        return CountingReader(context.store, None, context.cached_directory)

    yield RunBroadcaster(find, ending.is_set)
    ending.set()


def text_of(box: Subscription, seconds: float = 20.0) -> list[str]:
    """The kinds of what comes first into an empty mailbox, states included."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        delivery = box.poll(0.05)
        found = [message.kind for message in delivery.messages] + ["state"] * (delivery.state is not None)
        if found:
            return found
    return []


def threads() -> int:
    return sum(thread.name == "broadcaster" for thread in threading.enumerate())


@on_both_databases
def test_a_mailbox_has_the_present_state_at_once(watched: RunBroadcaster, store: Store) -> None:
    box = watched.subscribe()

    delivery = box.poll(0)
    assert delivery.state is not None
    assert f'"run_id":"{RUN_ID}"' in delivery.state
    assert box.position == EventCursor(RUN_ID, 6, 4201)


@on_both_databases
def test_all_mailboxes_get_the_same_from_one_look(
    watched: RunBroadcaster, store: Store, eventually: Eventually
) -> None:
    boxes = [watched.subscribe() for _ in range(32)]
    for box in boxes:
        box.poll(0)
    store.events.add(RUN_ID, 1, "paused", {})

    taken = [box for box in boxes if text_of(box) == ["event"]]
    assert len(taken) == 32
    eventually(lambda: threads() == 1, what="the end of threads of other tests")
    assert CountingReader.looks < 32


def test_who_is_silent_costs_no_looks(watched: RunBroadcaster, store: Store, eventually: Eventually) -> None:
    """A store that does not change is looked into once a second, whoever listens."""
    boxes = [watched.subscribe() for _ in range(32)]
    eventually(lambda: CountingReader.looks >= 8, what="the looks that follow a change")

    assert CountingReader.looks < 32
    assert len(boxes) == 32


def test_the_thread_lives_only_while_somebody_listens(
    watched: RunBroadcaster, store: Store, eventually: Eventually
) -> None:
    for _ in range(3):
        first, second = watched.subscribe(), watched.subscribe()
        watched.unsubscribe(first)
        assert watched.is_running
        watched.unsubscribe(second)
        eventually(lambda: not watched.is_running, what="the end of the watching")
    eventually(lambda: threads() == 0, what="the end of all threads")


def test_the_end_is_told_to_everybody(root: Path, store: Store, eventually: Eventually) -> None:
    ending = threading.Event()
    place = CachedRunDirectory(RunDirectory(root))
    watched = RunBroadcaster(lambda: RunContext(place.store, None, place), ending.is_set)
    boxes = [watched.subscribe() for _ in range(3)]
    ending.set()

    eventually(lambda: all(box.poll(0).has_ended for box in boxes), what="the end")
    assert not watched.is_running


def test_who_comes_first_to_a_run_that_is_not_there_is_told_so(watched: RunBroadcaster, root: Path) -> None:
    with pytest.raises(ProblemError):
        watched.subscribe()
    root.mkdir()
    (root / "leitstand.db").write_bytes(b"no database at all, but some bytes")
    with pytest.raises(StoreUnavailableError):
        watched.subscribe()
    assert not watched.is_running


def test_a_defect_does_not_silence_the_streams(
    watched: RunBroadcaster,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    eventually: Eventually,
) -> None:
    real, broken = broadcaster.read_messages, threading.Event()

    def read(of: Store, position: EventCursor) -> tuple[list[StreamMessage], bool]:
        if broken.is_set():
            raise RuntimeError("a defect")
        return real(of, position)

    monkeypatch.setattr(broadcaster, "read_messages", read)
    box = watched.subscribe()
    broken.set()
    store.events.add(RUN_ID, 1, "paused", {})
    eventually(lambda: "a defect" in caplog.text, what="the log")
    broken.clear()

    eventually(lambda: "event" in text_of(box), what="the event")


def test_states_are_some_time_apart_and_the_last_is_never_left_out(
    watched: RunBroadcaster, store: Store, eventually: Eventually
) -> None:
    box = watched.subscribe()
    states = [str(box.poll(0).state)]

    def collect() -> bool:
        if (state := box.poll(0.01).state) is not None:
            states.append(state)
        return '"step_live":5040' in states[-1]

    writer = threading.Thread(target=lambda: [store.runs.update(RUN_ID, step=5000 + step) for step in range(41)])
    began = time.monotonic()
    writer.start()
    eventually(collect, what="the last state")
    writer.join()

    assert len(states) <= 2 + (time.monotonic() - began) / broadcaster.STATE_SECONDS


def test_a_state_is_not_sent_again_just_because_it_grows_older(watched: RunBroadcaster, store: Store) -> None:
    store.runs.update(RUN_ID, state=RunState.PAUSED)
    box = watched.subscribe()
    box.poll(0)
    for _ in range(5):
        keep_alive(store)

    assert text_of(box, seconds=1.5) == []


def test_a_mailbox_is_bounded(store: Store) -> None:
    box = Subscription(EventCursor(RUN_ID, 0, 0), "{}")
    one = StreamMessage("event", b"x", EventCursor(RUN_ID, 1, 0))
    box.push([one] * subscription.MAX_QUEUED_MESSAGES)
    full = box.poll(0)
    assert (len(full.messages), full.has_overflowed) == (subscription.MAX_QUEUED_MESSAGES, False)
    many = [StreamMessage("event", b"x", EventCursor(RUN_ID, 1, 0)) for _ in range(1000)]
    kept = [weakref.ref(message) for message in many]
    while many:
        box.push([many.pop()])
        box.set_state("{}")
        box.set_note("note")

    assert [message() for message in kept if message() is not None] == []
    assert box.poll(0).has_overflowed
    box.resume_at(EventCursor(RUN_ID, 2000, 0))
    box.push([one])
    delivery = box.poll(0)
    assert (len(delivery.messages), delivery.state, delivery.note) == (1, "{}", "note")


def test_taking_wakes_up_when_something_comes() -> None:
    box = Subscription(EventCursor(RUN_ID, 0, 0), "{}")
    box.poll(0)
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(box.poll, 60)
        box.set_note("note")

        assert taken.result(20).note == "note"


def test_places_are_counted_and_watchers_are_shared(root: Path, store: Store, eventually: Eventually) -> None:
    place = CachedRunDirectory(RunDirectory(root))
    broadcasters = Broadcasters(lambda run_id: RunContext(place.store, run_id, place), 2)

    assert [broadcasters.acquire_slot() for _ in range(3)] == [True, True, False]
    broadcasters.release_slot()
    assert (broadcasters.slots_in_use, broadcasters.acquire_slot()) == (1, True)

    listened = broadcasters.of(None)
    box = listened.subscribe()
    idle = [weakref.ref(broadcasters.of(f"run-{number}")) for number in range(50)]
    assert [broadcaster() for broadcaster in idle[:-1]] == [None] * 49, "those that nobody listens to are forgotten"
    assert broadcasters.of(None) is listened
    listened.unsubscribe(box)
