"""`/events`: a stream of everything that happens, which can be taken up again; `test_event_connections.py` has more."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api.events import stream
from api.events.broadcaster import READABLE, UNREADABLE, broadcasters_of
from api.events.messages import PAGE_SIZE
from api.events.stream import ENDS, UNKNOWN_ID
from service.api_types import CommandAnswer
from service.commands import CommandState, Kind
from service.config.settings import RunConfig
from service.run.directory import RunDirectory
from service.run.state import RunState
from service.store.store import SeriesRow, Store, open_store
from tests.api.conftest import keep_alive, on_both_databases
from tests.api.harness.example_run import RECORD_STEPS, RUN_ID, example_record, save_record
from tests.api.harness.following import following_app
from tests.postgres import PostgresService
from tests.service.harness.locked import locked

Eventually = Callable[..., None]
Follow = Callable[..., Any]
STREAMS = 32


@pytest.fixture
def store(store: Store) -> Store:
    """A run whose trainer seems to live for ever, and writes nothing by itself."""
    keep_alive(store)
    return store


@pytest.fixture
def follow(make_app: Callable[..., Flask], eventually: Eventually) -> Follow:
    """Each with an application of its own."""
    return lambda query="", **more: following_app(make_app(), eventually, query, **more)


def log(store: Store, *steps: int, **values: float) -> None:
    store.series.add(RUN_ID, [SeriesRow(step, time.time(), values or {"total_loss_value": 0.5}) for step in steps])


@on_both_databases
def test_the_present_state_comes_at_once(follow: Follow, client: FlaskClient, store: Store) -> None:
    with follow() as follower:
        state = follower.await_kind("state")

    assert follower.retry == "2000"
    headers = follower.headers
    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert (headers["Cache-Control"], headers["X-Accel-Buffering"]) == ("no-store", "no")
    asked = client.get("/state").get_json()
    ages = {"age_seconds", "progress_age_seconds"}
    assert list(state) == list(asked)
    assert {key: value for key, value in state.items() if key not in ages} == {
        key: value for key, value in asked.items() if key not in ages
    }


def await_paused(follower: Any) -> dict[str, Any]:
    """The state that tells of the pause; events that change the ledger bring others before it."""
    count = 2
    while (state := follower.await_kind("state", count))["run_state"] != "paused":
        count += 1
    return state


@on_both_databases
def test_everything_that_happens_comes_as_it_happens(follow: Follow, store: Store, root: Path) -> None:
    with follow() as follower:
        follower.await_kind("state")
        log(store, 4300)
        point = follower.await_kind("log")
        sha256 = save_record(root, store, example_record(4400, time.time()))
        record = follower.await_kind("record")
        command = store.commands.submit(RUN_ID, Kind.PAUSE, {}, actor="eva", source="cli")
        store.commands.finish(command.id, CommandState.DONE, step=4410)
        follower.await_kind("command", 2)
        store.events.add(RUN_ID, 4410, "alert", {"name": "disk", "is_on": True, "since": 1.0, "sentence": "Full."})
        alert = follower.await_kind("alert")
        store.events.add(RUN_ID, 4410, "rollback", {"from_step": 4410})
        event = follower.await_kind("event")
        store.runs.update(RUN_ID, state=RunState.PAUSED, step=4410)
        state = await_paused(follower)

    assert (point["step"], point["values"], set(point)) == (
        4300, {"total_loss_value": 0.5}, {"step", "time", "values"},
    )  # fmt: skip
    assert (record["step"], record["name"], record["sha256"]) == (4400, "Statistik_4400.json", sha256)
    assert set(record) >= {"time", "trigger", "quality_ki_value", "quality_lr_value", "psnr_ki_db"}
    queued, done = follower.of("command")
    assert set(queued) == {*CommandAnswer.__annotations__, "time"}
    assert (queued["id"], queued["state"], done["state"], done["step"]) == (command.id, "queued", "done", 4410)
    assert (alert["name"], alert["is_on"], alert["since"], alert["sentence"]) == ("disk", True, 1.0, "Full.")
    assert (event["kind"], event["step"], event["details"]) == ("rollback", 4410, {"from_step": 4410})
    assert set(event) == {"id", "kind", "step", "time", "details"}
    assert (state["run_state"], state["step_live"]) == ("paused", 4410)


def test_a_state_that_only_time_changes_is_sent_too(follow: Follow, store: Store) -> None:
    store.runs.update(RUN_ID, heartbeat_at=time.time() - 8)
    with follow() as follower:
        assert follower.await_kind("state")["run_state"] == "running"
        assert follower.await_kind("state", 2)["run_state"] == "lost"


@on_both_databases
def test_only_the_kinds_that_were_asked_for_come(follow: Follow, store: Store) -> None:
    with follow("kinds=log,event") as follower, follow("kinds=record,,") as other, follow("kinds=") as all_kinds:
        store.records.add(RUN_ID, 4300, {}, "0" * 64)
        log(store, 4301)
        store.events.add(RUN_ID, 4302, "paused", {})
        follower.await_kind("event")
        other.await_kind("record")
        all_kinds.await_kind("event")

    assert sorted(follower.kinds()) == ["event", "log"]
    assert other.kinds() == ["record"]
    assert set(all_kinds.kinds()) == {"state", "record", "log", "event"}


@on_both_databases
def test_a_stream_is_taken_up_where_it_broke_off(follow: Follow, store: Store) -> None:
    with follow() as follower:
        follower.await_kind("state")
        log(store, 4300)
        follower.await_kind("log")
    store.events.add(RUN_ID, 4300, "paused", {})
    log(store, 4400)
    with follow(Last_Event_ID=follower.last_id) as again:
        store.events.add(RUN_ID, 4400, "resumed", {})
        again.await_kind("event", 2)
    with follow(f"last_event_id={follower.last_id}") as by_query:
        by_query.await_kind("event", 2)

    for found in (again, by_query):
        assert [event["kind"] for event in found.of("event")] == ["paused", "resumed"]
        assert [point["step"] for point in found.of("log")] == [4400]
        assert found.comments == [ENDS]


def test_the_header_counts_where_both_are_given(follow: Follow, store: Store) -> None:
    early = f"0-0-{RUN_ID}"
    with follow() as follower:
        follower.await_kind("state")
    with follow(f"last_event_id={early}", Last_Event_ID=follower.last_id) as again:
        store.events.add(RUN_ID, 1, "paused", {})
        again.await_kind("event")

    assert set(again.kinds()) == {"state", "event"}


def test_an_id_comes_before_any_event(follow: Follow, store: Store, eventually: Eventually) -> None:
    """Who is cut off before anything happened misses nothing either."""
    with follow("kinds=alert") as follower:
        eventually(lambda: follower.last_id, what="an id")
    store.events.add(RUN_ID, 1, "alert", {"name": "lost", "is_on": True, "since": 1.0, "sentence": "Lost."})
    with follow("kinds=alert", Last_Event_ID=follower.last_id) as again:
        again.await_kind("alert")


@on_both_databases
@pytest.mark.parametrize("unknown", [f"99999-0-{RUN_ID}", "1-0-another", "0-1000000000000000000-x%2Fy"])
def test_an_id_that_is_not_known_begins_with_the_present(
    follow: Follow, store: Store, unknown: str, eventually: Eventually
) -> None:
    with follow(Last_Event_ID=unknown) as follower:
        follower.await_kind("state")
        store.events.add(RUN_ID, 1, "paused", {})
        follower.await_kind("event")

    assert follower.comments == [UNKNOWN_ID, ENDS]
    assert "log" not in follower.kinds()


@pytest.mark.parametrize("damaged", ["", "7", "7-8", "-1-2-x", "1-2-a/b", "1" * 40 + "-0-x", "0-1000000000000000001-x"])
def test_a_damaged_id_is_refused(client: FlaskClient, store: Store, damaged: str) -> None:
    by_header = client.get("/events", headers={"Last-Event-ID": damaged})
    by_query = client.get("/events", query_string={"last_event_id": damaged})

    for answer in (by_header, by_query):
        assert (answer.status_code, answer.get_json()["type"]) == (422, "/problems/invalid-argument")


@pytest.mark.parametrize("query", ["kinds=states", "kinds=log&kinds=state", "kind=log"])
def test_a_wrong_parameter_is_refused(client: FlaskClient, store: Store, query: str) -> None:
    assert client.get(f"/events?{query}").status_code == 422


@on_both_databases
def test_more_log_points_than_can_be_replayed_are_named_instead(
    follow: Follow, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MAX_REPLAYED_POINTS", 100)
    log(store, *range(5000, 5100))
    with follow(f"last_event_id=0-0-{RUN_ID}") as follower:
        gap = follower.await_kind("gap")
        follower.await_kind("state")
        log(store, 9000)
        follower.await_kind("log", 7)

    assert gap == {"first_step": 0, "last_step": 5099}
    steps = [point["step"] for point in follower.of("log")]
    assert steps == [*RECORD_STEPS, 9000], "those of the gap only where a record completed one"
    assert len(follower.of("record")) == 6, "the journal is replayed as a whole"


def test_a_gap_is_nothing_to_who_wants_no_log_points(follow: Follow, store: Store) -> None:
    store.events.add(RUN_ID, 0, "started", {})  # after which all steps are walked again
    log(store, *range(5000, 5000 + stream.MAX_REPLAYED_POINTS + PAGE_SIZE))
    with follow(f"kinds=record,state&last_event_id=0-0-{RUN_ID}") as follower:
        follower.await_kind("state")

    assert follower.kinds() == ["record"] * 6 + ["state"]


@on_both_databases
def test_a_rollback_brings_the_log_points_of_the_new_branch(follow: Follow, store: Store) -> None:
    with follow() as follower:
        follower.await_kind("state")
        store.move_to_branch(RUN_ID, 4000, f"{RUN_ID}-branch-0")
        store.events.add(RUN_ID, 4000, "rollback", {})
        log(store, 4100)
        follower.await_kind("log")

    assert [point["step"] for point in follower.of("log")] == [4100]


def test_without_a_run_there_is_nothing_to_follow(client: FlaskClient) -> None:
    answer = client.get("/events")

    assert (answer.status_code, answer.get_json()["type"]) == (503, "/problems/no-run")
    assert broadcasters_of(client.application).slots_in_use == 0


def is_archived(root: Path) -> bool:
    """Whether it has been moved away; the write-ahead log may vanish under way, with its last reader."""
    with suppress(FileNotFoundError):
        RunDirectory(root).archive()
    return not (root / "leitstand.db-wal").exists() and not (root / "leitstand.db").exists()


@on_both_databases
def test_a_run_that_is_begun_anew_in_the_same_directory_is_followed(
    follow: Follow, store: Store, root: Path, config: RunConfig, eventually: Eventually
) -> None:
    with follow() as follower, follow(prefix=f"/runs/{RUN_ID}") as of_run:
        follower.await_kind("state")
        of_run.await_kind("state")
        store.close()
        eventually(lambda: is_archived(root), what="the old run is out of the way")
        (root / "run.json").write_text('{"run_id": "fresh"}')
        fresh = open_store(config, create=True)
        fresh.open_run("fresh", {})
        fresh.events.add("fresh", 0, "started", {})
        fresh.series.add("fresh", [SeriesRow(1, time.time(), {})])
        change = follower.await_kind("run")
        follower.await_kind("log")
        state = follower.await_kind("state", 2)
        fresh.close()

    assert (change["run_id"], change["previous_run_id"], set(change)) == (
        "fresh", RUN_ID, {"run_id", "previous_run_id", "started_at"},
    )  # fmt: skip
    assert follower.kinds().index("run") == 1
    assert [event["kind"] for event in follower.of("event")] == ["started"]
    assert (state["run_id"], state["run_state"]) == ("fresh", "starting")
    assert of_run.kinds() == ["state"]


def test_a_store_that_is_locked_or_away_ends_no_stream(
    follow: Follow, store: Store, root: Path, eventually: Eventually
) -> None:
    path = root / "leitstand.db"
    with follow() as follower:
        follower.await_kind("state")
        with locked(path), follow() as other:
            other.await_kind("state")
        path.rename(root / "away.db")
        path.mkdir()
        eventually(lambda: UNREADABLE in follower.comments, what="a note")
        path.rmdir()
        (root / "away.db").rename(path)
        eventually(lambda: READABLE in follower.comments, what="another note")
        store.events.add(RUN_ID, 1, "paused", {})
        follower.await_kind("event")

    assert not follower.of("run")


@pytest.mark.parametrize("store_address", ["postgresql"], indirect=True)
def test_a_server_that_is_away_ends_no_stream(
    follow: Follow, store: Store, postgres: PostgresService, eventually: Eventually
) -> None:
    with follow() as follower:
        follower.await_kind("state")
        with store.run_transaction(RUN_ID), follow() as other:
            other.await_kind("state")
        postgres.stop()
        eventually(lambda: UNREADABLE in follower.comments, what="a note")
        postgres.start()
        eventually(lambda: READABLE in follower.comments, what="another note")
        store.events.add(RUN_ID, 1, "paused", {})
        follower.await_kind("event")

    assert not follower.of("run")


@on_both_databases
def test_a_stream_goes_on_while_another_process_writes_all_the_time(
    follow: Follow, store: Store, config: RunConfig, eventually: Eventually
) -> None:
    """Nothing is lost or doubled between what is read from the store at first and what is handed out later."""
    has_ended = threading.Event()

    def write() -> None:
        own = open_store(config, keep_open=True)
        for number in range(300):
            own.events.add(RUN_ID, number, "set", {"number": number})
            own.series.add(RUN_ID, [SeriesRow(10_000 + number, time.time(), {"total_loss_value": 1.0})])
        own.close()
        has_ended.set()

    writer = threading.Thread(target=write)
    with ExitStack() as streams:
        writer.start()
        followers = [streams.enter_context(follow(f"last_event_id=0-4201-{RUN_ID}")) for _ in range(4)]
        for follower in followers:
            follower.await_kind("event", 300)
            follower.await_kind("log", len(RECORD_STEPS) + 300)  # those of records come with the event of each
        writer.join()

    assert has_ended.is_set()
    for follower in followers:
        assert [event["details"]["number"] for event in follower.of("event")] == list(range(300))
        points = [point["step"] for point in follower.of("log") if point["step"] >= 10_000]
        assert points == list(range(10_000, 10_300))
