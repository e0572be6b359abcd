"""Alerts in the journal: every beginning and end is written down exactly once, whoever watches."""

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.alerts import log
from service.alerts.log import AlertLog
from service.run.state import RunState
from service.store.queries.events import Event
from service.store.store import SeriesRow, Store, StoreUnavailableError
from tests.service.harness.locked import locked

RUN = "5f0c1e77ab42"
GIB = 2**30
DAY = 86400.0


@pytest.fixture
def store(location: Path | str) -> Iterator[Store]:
    store = Store(location, create=True, keep_open=True)
    store.open_run(RUN, {})
    set_run(store)
    yield store
    store.close()


def set_run(store: Store, **values: Any) -> None:
    now = time.time()
    fine = {"state": RunState.RUNNING, "heartbeat_at": now, "progress_at": now, "step": 4200, "facts": None}
    store.runs.update(RUN, **{**fine, **values})


def settle(store: Store, alert_log: AlertLog, later_seconds: float = 0.0, **more: Any) -> None:
    run = store.runs.get(RUN)
    assert run is not None
    alive = replace(run, heartbeat_at=run.heartbeat_at + later_seconds, progress_at=run.progress_at + later_seconds)
    alert_log.record_changes(alive, 50 * GIB, time.time() + later_seconds, **more)


def changes(store: Store) -> list[tuple[str, bool]]:
    return [(event.details["name"], event.details["is_on"]) for event in alert_events(store)]


def alert_events(store: Store) -> list[Event]:
    return [event for event in store.events.find(RUN, 0, 1000) if event.kind == "alert"]


def test_beginning_and_end_are_written_once(store: Store) -> None:
    alert_log = AlertLog(store, RUN)
    settle(store, alert_log)
    assert changes(store) == []

    set_run(store, facts={"log_points_dropped": 3})
    settle(store, alert_log)
    settle(store, alert_log)
    assert changes(store) == [("data_lost", True)]

    set_run(store)
    settle(store, alert_log, later_seconds=35)
    settle(store, alert_log, later_seconds=36)
    assert changes(store) == [("data_lost", True), ("data_lost", False)]


def test_a_trainers_clock_that_is_set_forward_begins_no_alert(store: Store) -> None:
    """None about what did not happen for so long, and none that has to last: the run goes on as before."""
    alert_log, hour = AlertLog(store, RUN), 3600.0
    store.open_run(RUN, {"ALERT_RECORD_SECONDS": 1800, "ALERT_DISK_GIB": 100})
    store.events.add(RUN, 4200, "slow rank", {"rank": 1})

    for ahead in (0.0, hour, hour):
        now = time.time() + ahead
        set_run(store, heartbeat_at=now, progress_at=now)
        run = store.runs.get(RUN)
        assert run is not None
        alert_log.record_changes(run, 50 * GIB, store.runs.now(run))

    assert changes(store) == []


def test_an_event_tells_everything_of_an_alert(store: Store) -> None:
    set_run(store, state=RunState.FAILED, reason="no space left")
    alert_log = AlertLog(store, RUN)
    settle(store, alert_log)
    (event,) = alert_events(store)

    assert (event.step, alert_log.last_change_id) == (4200, event.id)
    assert set(event.details) == {"name", "is_on", "since", "sentence"}
    assert event.details["sentence"] == "The training failed at step 4200: no space left"
    assert event.details["since"] == pytest.approx(time.time(), abs=60)


def test_a_process_that_starts_anew_writes_nothing_again_and_ends_what_is_over(store: Store) -> None:
    set_run(store, facts={"log_points_dropped": 3})
    settle(store, AlertLog(store, RUN))
    settle(store, AlertLog(store, RUN))
    set_run(store, state=RunState.FINISHED)
    settle(store, AlertLog(store, RUN))

    assert changes(store) == [("data_lost", True), ("data_lost", False)]


def test_many_processes_at_once_write_a_change_once(store: Store, location: Path | str) -> None:
    set_run(store, facts={"log_points_dropped": 3})
    together = threading.Barrier(4)

    def watch(_: int) -> None:
        own = Store(location)
        alert_log = AlertLog(own, RUN)
        run = own.runs.get(RUN)
        assert run is not None
        alert_log.current(run, None, time.time())
        together.wait()
        settle(own, alert_log)
        own.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(watch, range(4)))

    assert changes(store) == [("data_lost", True)]


def test_what_another_process_wrote_is_known_and_not_quarrelled_about(store: Store) -> None:
    mine, other = AlertLog(store, RUN), AlertLog(store, RUN)
    settle(store, mine)
    set_run(store, state=RunState.FAILED)
    settle(store, other)
    settle(store, mine)
    assert mine.last_change_id == other.last_change_id

    set_run(store)
    for _ in range(3):
        settle(store, mine, later_seconds=35)
        settle(store, other, later_seconds=35)
    assert changes(store) == [("failed", True), ("failed", False)]


def test_in_an_old_run_alerts_only_end(store: Store) -> None:
    settle(store, AlertLog(store, RUN))
    set_run(store, heartbeat_at=time.time() - 90 * DAY)
    alert_log = AlertLog(store, RUN)
    settle(store, alert_log, only_ends=True)
    assert changes(store) == []

    run = store.runs.get(RUN)
    assert run is not None
    assert list(alert_log.current(run, None, time.time()).firing) == ["lost"], "it is on all the same"


def test_the_journal_tells_of_ranks_steps_and_checkpoints(store: Store) -> None:
    alert_log = AlertLog(store, RUN)

    def present() -> list[str]:
        run = store.runs.get(RUN)
        assert run is not None
        return list(alert_log.current(run, None, time.time()).firing)

    store.events.add(RUN, 1, "not finite", {"steps": [1], "in_a_row": 1})
    store.events.add(RUN, 1, "checkpoint failed", {"checkpoint": "step_0000001", "reason": "no space"})
    assert present() == ["non_finite", "checkpoint_failed"]

    store.events.add(RUN, 2, "checkpoint", {"checkpoint": "step_0000002"})
    assert present() == ["non_finite"]

    store.events.add(RUN, 2, "started", {})
    assert present() == []


def test_a_rank_that_was_named_and_is_so_no_more_is_forgotten(store: Store) -> None:
    store.events.add(RUN, 1, "slow rank", {"rank": 1, "own_seconds": [0.1, 0.3]})
    alert_log, run = AlertLog(store, RUN), store.runs.get(RUN)
    assert run is not None
    later = time.time() + 700
    late = replace(run, heartbeat_at=later, progress_at=later)

    assert list(alert_log.current(late, None, later).firing) == ["slow_rank"]
    store.events.add(RUN, 1, "slow rank", {"rank": None, "own_seconds": [0.1, 0.1]})
    assert list(alert_log.current(late, None, later).firing) == []


def test_records_of_a_journal_that_does_not_tell_of_them_count(store: Store) -> None:
    store.records.add(RUN, 500, {"step_current": 500}, "0" * 64)
    with store.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM events")
    run, later = store.runs.get(RUN), time.time() + DAY
    assert run is not None
    late = replace(run, heartbeat_at=later, progress_at=later, started_at=run.started_at - 9 * DAY)

    assert list(AlertLog(store, RUN).current(late, None, later - 9).firing) == []
    assert list(AlertLog(store, RUN).current(late, None, later + 9).firing) == ["no_record"]


KINDS = [
    "not finite", "slow rank", "checkpoint", "checkpoint failed", "started", "resumed", "weights", "alert",
    "second trainer", "second trainer gone", "directory lost",
]  # fmt: skip


def random_entry(store: Store, chance: random.Random) -> None:
    """Tell of something that may matter for alerts."""
    kind = chance.choice(KINDS)
    details: dict[str, Any] = {}
    match kind:
        case "alert":
            name = chance.choice(["lost", "disk", "failed"])
            details = {"name": name, "is_on": chance.random() < 0.5, "since": 1.0, "sentence": "It is so."}
        case "slow rank":
            details = {"rank": chance.choice([None, 0, 1])}
        case "checkpoint failed":
            details = {"reason": f"no space {chance.random()}"}
        case "second trainer":
            details = {"reason": "Two train.", "start_number": chance.choice([1, 2])}
        case "directory lost":
            details = {"reason": f"It was moved {chance.random()}."}
    store.events.add(RUN, 1, kind, details)


def test_a_book_that_is_opened_late_knows_what_one_knows_that_has_followed(store: Store) -> None:
    chance, followed, run = random.Random(7), AlertLog(store, RUN), store.runs.get(RUN)
    assert run is not None
    for _ in range(80):
        random_entry(store, chance)
        followed.current(run, None, time.time())
        fresh = AlertLog(store, RUN)

        for later_seconds in (0.0, 300.0, 1000.0):  # within the time that alerts last, while ranks are slow, and after
            now = time.time() + later_seconds
            alive = replace(run, heartbeat_at=now, progress_at=now)
            assert fresh.current(alive, None, now) == followed.current(alive, None, now)
        assert fresh.last_change_id == followed.last_change_id


def test_a_book_that_is_opened_late_reads_a_few_entries_of_a_long_journal(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.transaction_scope():
        for step in range(500):
            store.records.add(RUN, step, {}, "0" * 64)
            store.events.add(
                RUN, step, "alert", {"name": "disk", "is_on": step % 2 == 0, "since": 1.0, "sentence": "-"}
            )
    read: list[int] = []
    monkeypatch.setattr(log, "Event", lambda **row: read.append(row["id"]) or Event(**row))
    run = store.runs.get(RUN)
    assert run is not None
    AlertLog(store, RUN).current(run, None, time.time())

    assert len(read) == 2


def test_a_store_that_is_locked_loses_no_change(tmp_path: Path) -> None:
    path = tmp_path / "leitstand.db"
    store = Store(path, create=True, busy_seconds=0.05)
    store.open_run(RUN, {})
    set_run(store, state=RunState.FAILED)
    alert_log = AlertLog(store, RUN)

    with locked(path), pytest.raises(StoreUnavailableError):
        settle(store, alert_log)
    assert changes(store) == []

    settle(store, alert_log)
    assert changes(store) == [("failed", True)]


def test_log_points_are_not_read(store: Store) -> None:
    """What an alert costs must not grow with the length of a run's history."""
    store.series.add(RUN, [SeriesRow(1, 1.0, {"loss": 1.0})])
    with store.transaction() as connection:
        connection.exec_driver_sql("DROP TABLE series")

    settle(store, AlertLog(store, RUN))


def test_what_has_to_last_begins_after_its_time(store: Store) -> None:
    alert_log = AlertLog(store, RUN)
    store.runs.update(RUN, facts={"unsaved_records": 2})
    for seconds in (0, 60, 119):
        settle(store, alert_log, later_seconds=seconds)
        assert changes(store) == []
    settle(store, alert_log, later_seconds=121)

    assert changes(store) == [("records_unsaved", True)]
