"""Delivery: at least once, in order, for as long as it takes, whatever the receiver and this process do."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from api.alerts import alert_sender
from api.alerts.alert_sender import AlertSender, backoff_seconds
from api.alerts.webhook import WebhookTarget
from service.alerts.webhook_outbox import LEASE_SECONDS, WebhookOutbox
from service.store.store import Store, StoreUnavailableError
from tests.api.conftest import on_both_databases
from tests.api.harness.example_run import RUN_ID, write_run
from tests.service.harness.locked import locked
from tests.service.harness.stand_in import Answer, Request, StandIn, serving

Eventually = Callable[..., None]
OK, BUSY, WRONG, GONE = Answer({}), Answer(b"", 503), Answer(b"", 400), Answer(b"", 410)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INITIAL_BACKOFF_SECONDS", "MAX_BACKOFF_SECONDS", "RETRY_SECONDS", "TICK_SECONDS"):
        monkeypatch.setattr(alert_sender, name, 0.02)


@pytest.fixture
def hook() -> Iterator[StandIn]:
    stand_in = StandIn()
    stand_in.on("POST", "/hook", OK)
    with serving(stand_in):
        yield stand_in


def alert(store: Store, name: str, run_id: str = RUN_ID) -> int:
    """Write one into the journal; returns its number."""
    store.events.add(run_id, 1, "alert", {"name": name, "is_on": True, "since": 1.0, "sentence": "It is so."})
    return store.events.last_id(run_id)


def received(hook: StandIn) -> list[str]:
    return [json.loads(request.body)["name"] for request in hook.requests]


@contextmanager
def delivering(url: str, clock_ahead_seconds: float = 0.0) -> Iterator[AlertSender]:
    """A courier at work for the time of the context; the clock may be ahead when it is made."""
    ending, began = threading.Event(), time.time() + clock_ahead_seconds
    with pytest.MonkeyPatch.context() as ahead:
        ahead.setattr(time, "time", lambda: began)
        at_work = AlertSender(WebhookTarget(url, "geheim"), ending.is_set)
    before = set(threading.enumerate())
    at_work.start()
    (thread,) = (thread for thread in set(threading.enumerate()) - before if thread.name == "alert-sender")
    try:
        yield at_work
    finally:
        ending.set()
        thread.join()


@on_both_databases
def test_alerts_are_delivered_in_their_order(store: Store, hook: StandIn, eventually: Eventually) -> None:
    with delivering(f"{hook.url}/hook") as at_work:
        for name in "abc":
            at_work.notify(store, RUN_ID, alert(store, name))
        eventually(lambda: received(hook) == ["a", "b", "c"], what="three deliveries")


def test_a_receiver_that_fails_at_first_gets_all_in_order(store: Store, hook: StandIn, eventually: Eventually) -> None:
    hook.on("POST", "/hook", BUSY, Answer(b"", 429), Answer(b"", 500), OK)
    with delivering(f"{hook.url}/hook") as at_work:
        alert(store, "a")
        at_work.notify(store, RUN_ID, alert(store, "b"))
        eventually(lambda: received(hook) == ["a", "a", "a", "a", "b"], what="all deliveries")

    assert len({request.headers["webhook-id"] for request in hook.requests}) == 2


def test_a_refusal_is_said_and_the_next_goes_on(
    store: Store, hook: StandIn, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    hook.on("POST", "/hook", WRONG, OK)
    with delivering(f"{hook.url}/hook") as at_work:
        alert(store, "a")
        at_work.notify(store, RUN_ID, alert(store, "b"))
        eventually(lambda: received(hook) == ["a", "b"], what="both")

    assert f"The alert a of run {RUN_ID} is not delivered to the webhook at 127.0.0.1: it answers 400." in caplog.text
    (noted,) = (event for event in store.events.find(RUN_ID, 0, 1000) if event.kind == "alert undelivered")
    assert noted.details == {"name": "a", "receiver": "the webhook at 127.0.0.1", "reason": "it answers 400"}


@on_both_databases
def test_a_receiver_that_is_gone_gets_nothing_more_until_the_next_start(
    store: Store, hook: StandIn, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    hook.on("POST", "/hook", OK, GONE)
    with delivering(f"{hook.url}/hook") as at_work:
        for name in "abc":
            at_work.notify(store, RUN_ID, alert(store, name))
        eventually(lambda: "wants no more" in caplog.text, what="the warning")
        at_work.notify(store, RUN_ID, alert(store, "d"))
    assert (received(hook), caplog.text.count("wants no more")) == (["a", "b"], 1)

    hook.on("POST", "/hook", OK)
    with delivering(f"{hook.url}/hook") as at_work:
        at_work.notify(store, RUN_ID, store.events.last_id(RUN_ID))
        eventually(lambda: received(hook) == ["a", "b", "b", "c", "d"], what="all that was not accepted")


def test_a_receiver_that_is_away_is_complained_about_once(
    store: Store, hook: StandIn, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    hook.on("POST", "/hook", BUSY)
    with delivering(f"{hook.url}/hook") as at_work:
        at_work.notify(store, RUN_ID, alert(store, "a"))
        eventually(lambda: len(hook.requests) > 5, what="many attempts")

    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        "The webhook at 127.0.0.1 is tried again: it answers 503."
    ]


def test_what_could_not_be_delivered_for_hours_is_dropped(
    store: Store, hook: StandIn, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = threading.Event()

    def react(request: Request) -> Answer:
        if first.is_set():
            monkeypatch.setattr(alert_sender, "GIVE_UP_SECONDS", 0.0)
        first.set()
        return BUSY if b'"name": "a"' in request.body else OK

    hook.on("POST", "/hook", react)
    with delivering(f"{hook.url}/hook") as at_work:
        alert(store, "a")
        at_work.notify(store, RUN_ID, alert(store, "b"))
        eventually(lambda: received(hook)[-1:] == ["b"], what="the one after it")

    assert set(received(hook)[:-1]) == {"a"}


def test_alerts_of_several_runs_are_dropped_too_once_the_receiver_was_away_for_long(
    store: Store,
    hook: StandIn,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(alert_sender, "GIVE_UP_SECONDS", 0.2)
    hook.on("POST", "/hook", BUSY)
    with delivering(f"{hook.url}/hook") as at_work:
        for run_id in ("one", "two"):
            store.open_run(run_id, {})
            at_work.notify(store, run_id, alert(store, "a", run_id))
        eventually(lambda: caplog.text.count("is not delivered") == 2, what="both are given up")


@on_both_databases
def test_a_restart_neither_forgets_nor_repeats(store: Store, hook: StandIn, eventually: Eventually) -> None:
    hook.on("POST", "/hook", OK, BUSY)
    with delivering(f"{hook.url}/hook") as at_work:
        alert(store, "a")
        at_work.notify(store, RUN_ID, alert(store, "b"))
        eventually(lambda: len(hook.requests) >= 2, what="one is taken, the other is not")
    hook.on("POST", "/hook", OK)
    before = len(hook.requests)
    with delivering(f"{hook.url}/hook") as at_work:
        at_work.notify(store, RUN_ID, store.events.last_id(RUN_ID))
        eventually(lambda: len(hook.requests) > before, what="the rest")
        at_work.notify(store, RUN_ID, alert(store, "c"))
        eventually(lambda: received(hook)[-1] == "c", what="the next")

    assert "a" not in received(hook)[1:]
    assert received(hook)[before:] in (["b", "c"], ["b", "b", "c"])


@on_both_databases
def test_what_is_delivered_is_not_looked_for_again(store: Store, hook: StandIn, eventually: Eventually) -> None:
    with delivering(f"{hook.url}/hook") as at_work:
        number = alert(store, "a")
        at_work.notify(store, RUN_ID, number)
        eventually(lambda: at_work.undelivered() == [], what="delivered")
        for _ in range(100):
            at_work.notify(store, RUN_ID, number)

            assert at_work.undelivered() == []
    assert received(hook) == ["a"]


@on_both_databases
def test_old_alerts_are_nobodys_concern_when_webhooks_are_switched_on(
    store: Store, hook: StandIn, eventually: Eventually
) -> None:
    alert(store, "old")
    with store.transaction() as connection:
        connection.exec_driver_sql("UPDATE events SET time = time - 7201")
    with delivering(f"{hook.url}/hook") as at_work:
        at_work.notify(store, RUN_ID, alert(store, "new"))
        eventually(lambda: received(hook) == ["new"], what="the new one alone")


@on_both_databases
def test_after_a_failure_alerts_of_the_last_day_are_still_delivered(
    store: Store, hook: StandIn, eventually: Eventually
) -> None:
    alert(store, "too old")
    with store.transaction() as connection:
        connection.exec_driver_sql("UPDATE events SET time = time - 7201")
    hook.on("POST", "/hook", BUSY)
    with delivering(f"{hook.url}/hook") as at_work:
        at_work.notify(store, RUN_ID, alert(store, "a"))
        eventually(lambda: len(hook.requests) > 1, what="vain attempts")
    with store.transaction() as connection:
        connection.exec_driver_sql("UPDATE events SET time = time - 70000")
    hook.on("POST", "/hook", OK)
    before = len(hook.requests)
    with delivering(f"{hook.url}/hook") as at_work:
        at_work.notify(store, RUN_ID, store.events.last_id(RUN_ID))
        eventually(lambda: at_work.undelivered() == [], what="delivered")

    assert received(hook)[before:] == ["a"]


def test_a_clock_that_was_ahead_at_the_start_silences_nothing(
    store: Store, hook: StandIn, eventually: Eventually
) -> None:
    with delivering(f"{hook.url}/hook", clock_ahead_seconds=86400) as at_work:
        at_work.notify(store, RUN_ID, alert(store, "a"))
        eventually(lambda: received(hook) == ["a"], what="the delivery")


@on_both_databases
def test_where_nothing_is_to_be_delivered_nothing_is_written(
    store: Store, hook: StandIn, eventually: Eventually
) -> None:
    """A store of old may be on a disk that is read only."""
    number = alert(store, "old")
    with store.transaction() as connection:
        connection.exec_driver_sql("UPDATE events SET time = time - 7201")
    with delivering(f"{hook.url}/hook") as at_work:
        at_work.notify(store, RUN_ID, number)
        eventually(lambda: at_work.undelivered() == [], what="the look")

    assert hook.requests == []
    with store.transaction() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM deliveries").scalar() == 0


@on_both_databases
def test_another_receiver_is_told_of_its_own(store: Store, hook: StandIn, eventually: Eventually) -> None:
    hook.on("POST", "/other", OK)
    number = alert(store, "a")
    for path in ("hook", "other"):
        with delivering(f"{hook.url}/{path}") as at_work:
            at_work.notify(store, RUN_ID, number)
            eventually(lambda at_work=at_work: at_work.undelivered() == [], what="delivered")

    assert hook.targets == ["/hook", "/other"]


@on_both_databases
def test_two_processes_do_not_both_deliver(store: Store, hook: StandIn, eventually: Eventually) -> None:
    url = f"{hook.url}/hook"
    with delivering(url) as one, delivering(url) as two:
        for name in "abcdefgh":
            number = alert(store, name)
            one.notify(store, RUN_ID, number)
            two.notify(store, RUN_ID, number)
        eventually(lambda: one.undelivered() == two.undelivered() == [], what="all delivered")

    assert received(hook) == list("abcdefgh")


@on_both_databases
def test_who_delivers_holds_the_box_until_he_is_through_or_gone(store: Store) -> None:
    mine, other = (WebhookOutbox(store, RUN_ID, "r", holder) for holder in ("me", "other"))

    assert mine.lease(1000.0, 1)
    assert mine.lease(1001.0, 1)
    assert not other.lease(1001.0, 1)
    assert other.lease(1001.0 + LEASE_SECONDS, 1), "he has died"
    assert not mine.lease(1002.0 + LEASE_SECONDS, 1)
    other.release()
    assert mine.lease(1003.0, 1)
    assert other.lease(1003.0 - 86400, 1), "the clock was set back"


@on_both_databases
def test_who_was_too_slow_does_not_take_back_what_another_has_delivered(store: Store) -> None:
    mine, other = (WebhookOutbox(store, RUN_ID, "r", holder) for holder in ("me", "other"))
    first, second = alert(store, "a"), alert(store, "b")
    mine.lease(1000.0, 1)
    other.lease(1001.0 + LEASE_SECONDS, 1)
    assert other.mark_delivered(second, 1002.0 + LEASE_SECONDS)

    assert not mine.mark_delivered(first, 1003.0 + LEASE_SECONDS)
    assert mine.next(0.0, 0.0) is None


def test_a_run_that_cannot_be_asked_delays_no_other(
    store: Store,
    hook: StandIn,
    eventually: Eventually,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(alert_sender, "RETRY_SECONDS", 600.0)
    caplog.set_level(logging.DEBUG, alert_sender.__name__)
    with delivering(f"{hook.url}/hook") as at_work:
        at_work.notify(Store(tmp_path / "nowhere.db"), "gone", 1)
        eventually(lambda: "of run gone cannot be delivered now" in caplog.text, what="the vain attempt")
        at_work.notify(store, RUN_ID, alert(store, "a"))
        eventually(lambda: received(hook) == ["a"], what="the other's alert")


@on_both_databases
def test_alerts_of_many_runs_are_delivered(store: Store, hook: StandIn, eventually: Eventually) -> None:
    with delivering(f"{hook.url}/hook") as at_work:
        for number in range(5):
            store.open_run(f"run-{number}", {})
            at_work.notify(store, f"run-{number}", alert(store, f"alert-{number}", f"run-{number}"))
        eventually(lambda: len(hook.requests) == 5, what="five deliveries")

    assert sorted(received(hook)) == [f"alert-{number}" for number in range(5)]


def test_a_store_that_is_locked_delays_a_delivery(root: Any, hook: StandIn, eventually: Eventually) -> None:
    write_run(root).close()
    store = Store(root / "leitstand.db", busy_seconds=0.01)
    number = alert(store, "a")
    with delivering(f"{hook.url}/hook") as at_work:
        with locked(root / "leitstand.db"):
            at_work.notify(store, RUN_ID, number)
            with pytest.raises(StoreUnavailableError):
                WebhookOutbox(store, RUN_ID, "r", "me").lease(time.time(), 1)
            assert received(hook) == []
        eventually(lambda: received(hook) == ["a"], what="the delivery")


def test_telling_never_waits_for_a_receiver(store: Store, hook: StandIn, eventually: Eventually) -> None:
    released = threading.Event()

    def react(_: Request) -> Answer:
        released.wait(20)
        return OK

    hook.on("POST", "/hook", react)
    with delivering(f"{hook.url}/hook") as at_work:
        at_work.notify(store, RUN_ID, alert(store, "a"))
        eventually(lambda: hook.requests, what="the receiver is asked")
        for number in range(1000):
            at_work.notify(store, f"run-{number % 3}", number)
        assert sorted(at_work.undelivered()) == sorted([RUN_ID, "run-0", "run-1", "run-2"])
        released.set()


def test_pauses_grow_up_to_a_bound_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_sender, "INITIAL_BACKOFF_SECONDS", 1.0)
    monkeypatch.setattr(alert_sender, "MAX_BACKOFF_SECONDS", 300.0)
    for failures in range(1, 40):
        longest = min(2.0 ** (failures - 1), 300.0)
        pauses = {backoff_seconds(failures, 0.0) for _ in range(5)}
        assert all(longest / 2 <= pause <= longest for pause in pauses)
        assert len(pauses) == 5
    assert backoff_seconds(39, 10_000.0) == 300.0
