"""`/alerts`, and the watch that writes their beginnings and ends into the journals, with nobody looking."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient

from api.alerts import monitor
from api.alerts.current import AlertLogs
from api.alerts.monitor import AlertMonitor, OnChecked
from api.app import create_app
from api.runs.registry import KnownRun, RunRegistry
from service.config.settings import RunConfig
from service.run.state import RunState
from service.store.store import Store
from tests.api.conftest import keep_alive, on_both_databases
from tests.api.harness.example_run import RUN_ID, write_run
from tests.api.harness.serving import Serving, refused_start
from tests.harness.forked import StartPython
from tests.service.harness.locked import locked
from tests.service.harness.stand_in import Answer, StandIn
from tests.service.harness.stand_in import serving as receiving

Eventually = Callable[..., None]
DAY = 86400.0


def changes(store: Store, run_id: str = RUN_ID) -> list[tuple[str, bool]]:
    events = store.events.find(run_id, 0, 1000)
    return [(event.details["name"], event.details["is_on"]) for event in events if event.kind == "alert"]


def watch_of(config: RunConfig, on_checked: OnChecked | None = None) -> AlertMonitor:
    return AlertMonitor(RunRegistry(config), AlertLogs(), lambda: False, on_checked)


@pytest.fixture
def watch(make_app: Callable[..., Flask]) -> AlertMonitor:
    return AlertMonitor(make_app().extensions["leitstand"], AlertLogs(), lambda: False)


# Clocks


def test_a_run_that_is_lost_when_the_watch_begins_has_its_alert_at_the_second_look(
    watch: AlertMonitor, root: Path
) -> None:
    store = write_run(root, age_seconds=47)

    watch.check()
    assert changes(store) == []

    watch.check()
    assert changes(store) == [("lost", True)]


def test_a_trainer_whose_clock_is_an_hour_behind_is_not_lost_when_the_watch_begins(
    watch: AlertMonitor, root: Path
) -> None:
    store = write_run(root, age_seconds=3600)
    watch.check()

    store.runs.update(RUN_ID, heartbeat_at=time.time() - 3599, progress_at=time.time() - 3599)
    watch.check()

    assert changes(store) == []


# The route


@on_both_databases
def test_a_run_that_is_in_order_has_no_alerts(client: FlaskClient, store: Store) -> None:
    assert client.get("/alerts").get_json() == {"run_id": RUN_ID, "alerts": []}


@on_both_databases
def test_a_fresh_server_knows_the_alerts_without_a_watch(client: FlaskClient, store: Store) -> None:
    store.runs.update(RUN_ID, state=RunState.FAILED, reason="no space left")

    for prefix in ("", f"/runs/{RUN_ID}"):
        (alert,) = client.get(f"{prefix}/alerts").get_json()["alerts"]
        assert (alert["name"], alert["sentence"]) == ("failed", "The training failed at step 4200: no space left")


@on_both_databases
def test_what_the_journal_says_is_not_believed_once_it_is_over(client: FlaskClient, store: Store) -> None:
    since = time.time() - 3600
    store.events.add(RUN_ID, 1, "alert", {"name": "lost", "is_on": True, "since": since, "sentence": "Lost."})
    with store.transaction() as connection:
        connection.exec_driver_sql("UPDATE events SET time = time - 3600 WHERE kind = 'alert'")

    assert client.get("/alerts").get_json()["alerts"] == []


@on_both_databases
def test_an_alert_keeps_the_time_of_its_beginning(client: FlaskClient, store: Store) -> None:
    details = {"name": "failed", "is_on": True, "since": 1234.5, "sentence": "It failed then."}
    store.events.add(RUN_ID, 1, "alert", details)
    store.runs.update(RUN_ID, state=RunState.FAILED, reason="no space left")

    (alert,) = client.get("/alerts").get_json()["alerts"]
    assert alert["since"] == 1234.5
    assert "no space left" in alert["sentence"]


def test_asking_writes_nothing(client: FlaskClient, store: Store) -> None:
    store.runs.update(RUN_ID, state=RunState.FAILED)
    client.get("/alerts")

    assert changes(store) == []


def test_without_a_run_there_are_no_alerts_to_ask_for(client: FlaskClient) -> None:
    assert client.get("/alerts").status_code == 503


# The watch


@on_both_databases
def test_changes_are_written_with_nobody_looking(watch: AlertMonitor, store: Store) -> None:
    watch.check()
    assert changes(store) == []
    store.runs.update(RUN_ID, state=RunState.FAILED)
    watch.check()
    watch.check()
    store.runs.update(RUN_ID, state=RunState.FINISHED)
    with store.transaction() as connection:
        connection.exec_driver_sql("UPDATE events SET time = time - 31 WHERE kind = 'alert'")
    watch.check()

    assert changes(store) == [("failed", True), ("failed", False)]


def test_a_run_that_has_ended_is_checked_once_until_it_changes(
    root: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []
    store.runs.update(RUN_ID, state=RunState.FINISHED)
    minute_ago = time.time() - 60  # as if nobody had written since
    for path in root.glob("leitstand.db*"):
        os.utime(path, (minute_ago, minute_ago))
    monkeypatch.setattr(monitor, "SCAN_SECONDS", 0.0)
    monkeypatch.setattr(monitor, "SCAN_SHARE", 1e9)
    watch = AlertMonitor(
        RunRegistry(RunConfig(data_root=root)),
        AlertLogs(),
        lambda: False,
        lambda known, _: checked.append(known.row.id),
    )
    for _ in range(5):
        watch.check()
    assert checked == [RUN_ID]

    store.runs.update(RUN_ID, state=RunState.FAILED)
    watch.check()

    assert checked == [RUN_ID] * 2
    assert changes(store) == [("failed", True)]


def test_scans_of_a_large_room_take_no_more_than_their_share_of_the_time(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, scans = [0.0], [0]

    class SlowRegistry(RunRegistry):
        def runs(self, *, heard_since: float | None = None) -> list[KnownRun]:
            scans[0] += 1
            now[0] += 1.0
            return super().runs(heard_since=heard_since)

    monkeypatch.setattr(monitor.time, "monotonic", lambda: now[0])
    watch = AlertMonitor(SlowRegistry(RunConfig(data_root=root)), AlertLogs(), lambda: False)
    for _ in range(1000):
        now[0] += 2.0
        watch.check()

    assert scans[0] == 5  # one at once, then one in 400 s


def test_the_disk_of_the_run_directory_is_looked_at(
    watch: AlertMonitor, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.open_run(RUN_ID, {"ALERT_DISK_GIB": 1e6})
    keep_alive(store)
    watch.check()
    assert changes(store) == [], "it has to last"
    later = time.time() + 61, time.monotonic() + 61
    monkeypatch.setattr(time, "time", lambda: later[0])
    monkeypatch.setattr(time, "monotonic", lambda: later[1])
    watch.check()

    assert changes(store) == [("disk", True)]


def test_every_run_of_the_room_is_watched(tmp_path: Path) -> None:
    stores = [write_run(tmp_path / name, state=RunState.FAILED) for name in ("a", "b")]
    for name, store in zip("ab", stores, strict=True):
        store.open_run(f"run-{name}", {})
        store.runs.update(f"run-{name}", state=RunState.FAILED)
        (tmp_path / name / "run.json").write_text(json.dumps({"run_id": f"run-{name}"}))

    watch_of(RunConfig(data_root=tmp_path)).check()

    assert [changes(store, f"run-{name}") for name, store in zip("ab", stores, strict=True)] == [[("failed", True)]] * 2
    for store in stores:
        store.close()


def test_runs_of_a_shared_store_are_watched(store_url: str, tmp_path: Path) -> None:
    shared = Store(store_url, create=True)
    for name in ("far", "farther"):
        shared.open_run(name, {"ALERT_DISK_GIB": 5.0})
        shared.runs.update(name, state=RunState.FAILED)

    registry = RunRegistry(RunConfig(data_root=tmp_path, store_url=store_url))
    AlertMonitor(registry, AlertLogs(), lambda: False).check()
    registry.close()

    assert [changes(shared, name) for name in ("far", "farther")] == [[("failed", True)]] * 2
    shared.close()


def test_an_old_run_is_settled_once_and_then_left_alone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = write_run(root, age_seconds=3 * DAY)
    store.events.add(RUN_ID, 1, "alert", {"name": "stalled", "is_on": True, "since": 1.0, "sentence": "It hangs."})
    with store.transaction() as connection:
        connection.exec_driver_sql("UPDATE events SET time = time - 3600 WHERE kind = 'alert'")
    monkeypatch.setattr(monitor, "SCAN_SECONDS", 0.0)
    monkeypatch.setattr(monitor, "SCAN_SHARE", 1e9)
    checked: list[str] = []
    watch = watch_of(RunConfig(data_root=root), lambda known, _: checked.append(known.row.id))
    for _ in range(3):
        watch.check()

    assert changes(store) == [("stalled", True), ("stalled", False)], "but nobody is told that it is lost"
    assert checked == [RUN_ID]
    store.close()


def test_a_run_that_comes_later_is_found(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "SCAN_SECONDS", 0.0)
    monkeypatch.setattr(monitor, "SCAN_SHARE", 1e9)
    watch = watch_of(RunConfig(data_root=root))
    watch.check()
    store = write_run(root, state=RunState.FAILED)
    watch.check()

    assert changes(store) == [("failed", True)]
    store.close()


def test_a_store_that_is_locked_delays_an_alert_and_hinders_no_other(tmp_path: Path, store: Store, root: Path) -> None:
    other = write_run(tmp_path / "other", state=RunState.FAILED)
    (tmp_path / "other" / "run.json").write_text(json.dumps({"run_id": "other"}))
    other.open_run("other", {})
    other.runs.update("other", state=RunState.FAILED)
    store.runs.update(RUN_ID, state=RunState.FAILED)
    watch = watch_of(RunConfig(data_root=root, run_roots=str(tmp_path / "other")))
    with locked(root / "leitstand.db"):
        watch.check()
        assert (changes(store), changes(other, "other")) == ([], [("failed", True)])
    watch.check()

    assert changes(store) == [("failed", True)]
    other.close()


def test_a_defect_with_one_run_is_logged_once_and_ends_nothing(
    watch: AlertMonitor, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store.runs.update(RUN_ID, state=RunState.FAILED)
    monkeypatch.setattr(monitor, "free_bytes", lambda *_: 1 / 0)
    for _ in range(3):
        watch.check()
    assert caplog.text.count("ZeroDivisionError") == 1

    monkeypatch.undo()
    watch.check()
    assert changes(store) == [("failed", True)]


def test_importing_and_creating_an_application_begins_nothing(root: Path) -> None:
    before = {thread.name for thread in threading.enumerate()}
    create_app(RunConfig(data_root=root, webhook_url="http://127.0.0.1:1/"))

    assert {thread.name for thread in threading.enumerate()} == before


# In a real server


@pytest.fixture
def hook() -> Iterator[StandIn]:
    stand_in = StandIn()
    stand_in.on("POST", "/hook", Answer(b"", 503), Answer(b"", 500), Answer({}))
    with receiving(stand_in):
        yield stand_in


def test_a_server_that_nobody_asks_delivers_an_alert_and_its_end(
    serving: Serving, root: Path, store: Store, hook: StandIn, eventually: Eventually
) -> None:
    keep_alive(store)
    settings = {"WEBHOOK_URL": f"{hook.url}/hook", "WEBHOOK_SECRET": "geheim"}
    with serving(root, **settings):
        store.runs.update(RUN_ID, state=RunState.FAILED, reason="no space left")
        eventually(lambda: len(hook.requests) == 3, what="two attempts that failed and one that did not")
        store.runs.update(RUN_ID, state=RunState.RUNNING)
        with store.transaction() as connection:
            connection.exec_driver_sql("UPDATE events SET time = time - 31 WHERE kind = 'alert'")
    with serving(root, **settings):
        store.runs.update(RUN_ID, state=RunState.STOPPED)
        eventually(lambda: len(hook.requests) == 4, what="the end")

    bodies = [json.loads(request.body) for request in hook.requests]
    assert [(body["name"], body["is_on"]) for body in bodies] == [("failed", True)] * 3 + [("failed", False)]
    assert len({body["id"] for body in bodies}) == 2
    assert changes(store) == [("failed", True), ("failed", False)]


@on_both_databases
def test_two_servers_on_one_run_write_and_deliver_a_change_once(
    serving: Serving, root: Path, store: Store, store_address: str, hook: StandIn, eventually: Eventually
) -> None:
    hook.on("POST", "/hook", Answer({}))
    settings = {"WEBHOOK_URL": f"{hook.url}/hook", "STORE_URL": store_address}
    with serving(root, **settings) as one, serving(root, **settings) as two:
        store.runs.update(RUN_ID, state=RunState.FAILED)
        eventually(lambda: hook.requests, what="the delivery")
        for server in (one, two):
            alerts = requests.get(f"{server.url}/alerts", timeout=20).json()["alerts"]
            assert [alert["name"] for alert in alerts] == ["failed"]
        eventually(lambda: _delivered(store) == store.events.last_id(RUN_ID), what="both are through")

    assert changes(store) == [("failed", True)]
    assert len(hook.requests) == 1


def test_a_server_notifies_people_while_another_receiver_is_away_and_shows_no_secret(
    serving: Serving, root: Path, store: Store, eventually: Eventually
) -> None:
    keep_alive(store)
    phone = StandIn()
    phone.on("POST", "/", Answer({}))
    with receiving(phone):
        addresses = f"json://127.0.0.1:1/T0KEN ntfy://eva:T0KEN@{phone.url.removeprefix('http://')}/alarm"
        with serving(root, NOTIFY_URLS=addresses) as server:
            store.runs.update(RUN_ID, state=RunState.FAILED, reason="no space left")
            eventually(lambda: phone.requests, what="the notification")
            eventually(lambda: "is tried again" in server.said(), what="the warning about the other")
            shown = requests.get(f"{server.url}/settings", timeout=20).text
            log = server.said()

    assert "no space left" in json.loads(phone.requests[0].body)["message"]
    assert "Receiver 1 of NOTIFY_URLS (json) is tried again" in log
    assert "T0KEN" not in log + shown


def _delivered(store: Store) -> int | None:
    with store.transaction() as connection:
        number: int | None = connection.exec_driver_sql("SELECT event_id FROM deliveries").scalar()
    return number


def test_a_webhook_that_is_no_web_address_ends_the_start_with_a_sentence(start_server: StartPython, root: Path) -> None:
    settings = {"DATA_ROOT": str(root), "API_PORT": "5050", "WEBHOOK_URL": "ftp://a/b"}

    code, errors = refused_start(start_server, settings)

    assert code == 2
    assert errors == "Error: WEBHOOK_URL is not the address of a web server; write https://host/path.\n"
