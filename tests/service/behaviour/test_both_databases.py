"""What the store promises, on SQLite and on PostgreSQL alike."""

import hashlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from service.commands import Command, CommandState, Kind
from service.run.record import encode_record
from service.store.change_poll import ChangePoller
from service.store.queries.ranks import RankRow
from service.store.store import SeriesRow, Store

RUN = "run-1"
LARGE_STEP = 10**18 - 1


@pytest.fixture
def store(location: Path | str) -> Iterator[Store]:
    store = Store(location, create=True, keep_open=True)
    store.open_run(RUN, {"SCALE": 3})
    yield store
    store.close()


def submit(store: Store, kind: Kind = Kind.VALIDATE, actor: str = "eva", **more: Any) -> Command:
    return store.commands.submit(RUN, kind, {}, actor=actor, source="cli", **more)


# Runs


def test_runs_are_listed_the_one_that_started_last_first(store: Store) -> None:
    store.open_run("run-2", {}, now=2.0)
    store.open_run("run-3", {}, now=3.0)

    assert [run.id for run in store.runs.all()] == [RUN, "run-3", "run-2"]
    assert (run := store.runs.get("run-2")) is not None
    assert (run.started_at, run.config, run.state) == (2.0, {}, "starting")
    assert store.runs.get("run-4") is None
    assert store.exists()


def test_text_that_no_database_can_hold_is_looked_for_in_vain_and_stored_with_a_sign_in_its_place(store: Store) -> None:
    assert store.runs.get("a\0b") is None
    assert store.commands.get("\0") is None
    assert store.commands.page(RUN, actor="\udcff", limit=5) == ([], None)

    store.runs.update(RUN, reason="half \ud800 a \0 sign")

    assert (run := store.runs.get(RUN)) is not None
    assert run.reason == "half ? a \ufffd sign"


def test_a_command_goes_its_way_and_its_conditions_are_kept(store: Store) -> None:
    command = submit(store, Kind.SET, apply_at_step=LARGE_STEP, expires_at=4e9)
    assert store.commands.find(RUN, CommandState.QUEUED) == [command]

    assert store.commands.begin(command.id)
    assert not store.commands.cancel(command.id, "too late")
    assert store.commands.finish(command.id, CommandState.DONE, step=LARGE_STEP, result={"record": None})

    assert (done := store.commands.get(command.id)) is not None
    assert (done.state, done.step, done.result) == (CommandState.DONE, LARGE_STEP, {"record": None})


def test_of_eight_threads_one_begins_a_command(location: Path | str, store: Store) -> None:
    command = submit(store)
    gate = threading.Barrier(8)
    shared = Store(location)

    def begin(_number: int) -> bool:
        gate.wait()
        return shared.commands.begin(command.id)

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(begin, range(8))) == [False] * 7 + [True]
    shared.close()


# Pages, counts and keys of commands


def test_commands_come_in_pages_newest_first(store: Store) -> None:
    ids = [submit(store).id for _ in range(5)]

    first, before = store.commands.page(RUN, limit=2)
    second, before_second = store.commands.page(RUN, limit=2, before=before)
    third, after_all = store.commands.page(RUN, limit=2, before=before_second)

    assert [command.id for command in [*first, *second, *third]] == ids[::-1]
    assert after_all is None
    assert store.commands.page(RUN, limit=5)[1] is None
    assert store.commands.page("run-2", limit=5) == ([], None)


def test_pages_hold_only_the_commands_that_fit(store: Store) -> None:
    pause, _, stop = submit(store, Kind.PAUSE), submit(store, Kind.STOP, actor="uwe"), submit(store, Kind.STOP)
    store.commands.cancel(stop.id, "by eva")

    def ids(**which: Any) -> list[str]:
        return [command.id for command in store.commands.page(RUN, limit=9, **which)[0]]

    assert ids(kind=Kind.PAUSE) == [pause.id]
    assert ids(kind=Kind.STOP, actor="eva") == [stop.id]
    assert ids(state=CommandState.CANCELLED) == [stop.id]
    assert ids(state=CommandState.CANCELLED, actor="uwe") == []


def test_commands_are_found_by_who_asked_with_an_address_or_without(store: Store) -> None:
    actors = ["eva", "eva@127.0.0.1", "eva@::1", "eva@home@::1", "Eva@::1", "eva2@::1", "e%a@::1", "e_a@::1", "😀@::1"]
    for actor in actors:
        submit(store, actor=actor)

    def found(actor: str) -> list[str]:
        return sorted(command.actor for command in store.commands.page(RUN, actor=actor, limit=20)[0])

    assert found("eva") == ["eva", "eva@127.0.0.1", "eva@::1"]
    assert found("eva@::1") == ["eva@::1"]
    assert found("eva@home") == ["eva@home@::1"]
    assert found("😀") == ["😀@::1"]
    assert found("e%a") == ["e%a@::1"]
    assert found("e_a") == ["e_a@::1"]
    assert found("%") == found("ev") == found("") == found("eva@") == found("\\") == []


def test_commands_are_counted_by_kind_and_state(store: Store) -> None:
    cancelled, *_ = submit(store), submit(store), submit(store), submit(store, Kind.STOP)
    store.commands.cancel(cancelled.id, "by eva")

    assert store.commands.counts(RUN) == {
        (Kind.VALIDATE, CommandState.QUEUED): 2,
        (Kind.VALIDATE, CommandState.CANCELLED): 1,
        (Kind.STOP, CommandState.QUEUED): 1,
    }
    assert store.commands.counts("run-2") == {}


def test_a_key_that_was_used_gives_the_command_of_then(store: Store) -> None:
    first = submit(store, idempotency_key="abc", fingerprint="f1")
    other_run = store.commands.submit("run-2", Kind.STOP, {}, actor="eva", source="cli", idempotency_key="abc")

    again = submit(store, Kind.STOP, idempotency_key="abc", fingerprint="f2")

    assert again == first
    assert (again.idempotency_key, again.fingerprint) == ("abc", "f1")
    assert other_run.id != first.id
    assert store.commands.get_by_key(RUN, "abc") == first
    assert store.commands.get_by_key(RUN, "abd") is None
    assert len(store.commands.find(RUN)) == 1
    assert "idempotency_key" not in first.as_dict()


def test_commands_without_a_key_are_all_different(store: Store) -> None:
    assert len({submit(store).id for _ in range(3)}) == 3


def test_eight_submissions_at_once_under_one_key_make_one_command(location: Path | str, store: Store) -> None:
    gate = threading.Barrier(8)
    shared = Store(location)

    def ask(number: int) -> str:
        gate.wait()
        return submit(shared, idempotency_key="abc", fingerprint=str(number)).id

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(ask, range(8)))
    shared.close()

    assert [command.id for command in store.commands.find(RUN)] == list(ids)
    assert store.events.counts(RUN) == {"command": 1}


# The journal


def test_every_state_of_a_command_is_an_event(store: Store) -> None:
    store.runs.update(RUN, step=7)
    done, cancelled, expired, rejected = (submit(store, expires_at=at) for at in (None, None, 1.0, None))
    store.commands.begin(done.id)
    store.commands.finish(done.id, CommandState.DONE, step=12)
    store.commands.finish(done.id, CommandState.FAILED)  # comes too late
    store.commands.cancel(cancelled.id, "by eva")
    store.commands.expire(RUN, 2.0)
    store.commands.reject_queued(RUN, "the run ended")

    events = store.events.find(RUN, 0, 100)
    told = [(event.details["id"], event.details["state"]) for event in events]
    assert told == [
        *((command.id, "queued") for command in (done, cancelled, expired, rejected)),
        (done.id, "running"), (done.id, "done"), (cancelled.id, "cancelled"), (expired.id, "expired"),
        (rejected.id, "rejected"),
    ]  # fmt: skip
    assert {event.kind for event in events} == {"command"}
    assert [event.step for event in events] == [7, 7, 7, 7, 7, 12, 7, 7, 7]
    assert (last := store.commands.get(done.id)) is not None
    assert events[5].details == last.as_dict()


def test_what_a_start_settles_is_told_in_the_order_of_acceptance(store: Store) -> None:
    running = [submit(store) for _ in range(3)]
    for command in reversed(running):
        store.commands.begin(command.id)
    before = store.events.last_id(RUN)

    store.open_run(RUN, {})

    settled = [(event.details["id"], event.details["state"]) for event in store.events.find(RUN, before, 9)]
    assert settled == [(command.id, "failed") for command in running]


def test_a_record_is_an_event_with_its_headlines(store: Store) -> None:
    record = {"step_current": 500, "trigger": "manual", "quality_ki_value": 0.5, "psnr_ki_db": None, "other": 1}
    store.records.add(RUN, 500, record, "aa")

    (event,) = store.events.find(RUN, 0, 9)
    assert (event.kind, event.step) == ("record", 500)
    assert event.details == {
        "step": 500, "name": "Statistik_500.json", "sha256": "aa", "trigger": "manual", "quality_ki_value": 0.5,
        "quality_lr_value": None, "psnr_ki_db": None, "validation_loss_value": None,
    }  # fmt: skip


def test_events_are_read_from_where_one_was(store: Store) -> None:
    assert store.events.last_id(RUN) == 0
    for number in range(5):
        store.events.add(RUN, number, "some" if number % 2 else "other", {"number": number})
    store.events.add("run-2", None, "elsewhere", {})

    first = store.events.find(RUN, 0, 2)
    rest = store.events.find(RUN, first[-1].id, 100)

    assert [event.details["number"] for event in [*first, *rest]] == list(range(5))
    assert [event.step for event in rest] == [2, 3, 4]
    assert store.events.last_id(RUN) == rest[-1].id
    assert store.events.counts(RUN) == {"some": 2, "other": 3}
    assert [event.step for event in store.events.find("run-2", 0, 9)] == [0]


def test_an_event_is_kept_with_the_change_it_tells_of_or_not_at_all(store: Store) -> None:
    def half() -> None:
        with store.transaction_scope():
            submit(store)
            raise KeyError

    with pytest.raises(KeyError):
        half()

    assert (store.commands.find(RUN), store.events.last_id(RUN)) == ([], 0)


def test_a_reader_who_goes_on_where_he_was_misses_no_event_of_many_writers(location: Path | str, store: Store) -> None:
    writers, each = 6, 25
    shared = Store(location)
    remaining = threading.Semaphore(0)

    def write(number: int) -> None:
        for turn in range(each):
            with shared.transaction_scope():  # in a longer transaction numbers would become visible out of order
                shared.events.add(RUN, turn, "first", {"writer": number})
                shared.commands.submit(RUN, Kind.PAUSE, {}, actor=str(number), source="cli")
        remaining.release()

    seen: list[int] = []
    ended = 0
    with ThreadPoolExecutor(writers) as pool:
        for number in range(writers):
            pool.submit(write, number)
        while True:
            ended += remaining.acquire(blocking=False)
            found = store.events.find(RUN, seen[-1] if seen else 0, 7)
            seen += [event.id for event in found]
            if not found and ended == writers:
                break
    shared.close()

    assert len(seen) == 2 * writers * each
    assert seen == sorted(set(seen))


# Records and series


def test_a_record_comes_back_with_the_bytes_of_its_file(store: Store) -> None:
    record = {
        "step_current": LARGE_STEP, "z": 1, "a": [0.1, 1e-300, -0.0, 1e22, 3.0, 2**53 + 1], "text": "ß – „so“ \u2028",
        "empty": {}, "nothing": None, "flag": True, "nested": {"b": {"z": 1, "a": 2}},
    }  # fmt: skip
    content = encode_record(record)
    sha256 = hashlib.sha256(content).hexdigest()
    store.records.add(RUN, LARGE_STEP, record, sha256)

    row = store.records.get(RUN, LARGE_STEP)

    assert row is not None
    assert encode_record(dict(row.record)) == content
    assert (row.step, row.sha256) == (LARGE_STEP, hashlib.sha256(encode_record(dict(row.record))).hexdigest())


def test_records_are_paged_by_step_and_counted(store: Store) -> None:
    assert (store.records.latest(RUN), store.records.count(RUN)) == (None, 0)
    for step in (200, 0, 100):
        store.records.add(RUN, step, {"step_current": step}, str(step))
    store.records.add("run-2", 300, {}, "x")

    assert [row.step for row in store.records.find(RUN, limit=2)] == [0, 100]
    assert [row.step for row in store.records.find(RUN, after_step=100, limit=2)] == [200]
    assert (last := store.records.latest(RUN)) is not None
    assert (last.step, last.record) == (200, {"step_current": 200})
    assert store.records.count(RUN) == 3
    assert store.records.get(RUN, 50) is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1}])
def test_what_is_no_json_is_the_callers_fault_and_harms_nothing_else(store: Store, value: Any) -> None:
    with pytest.raises(ValueError, match="not storable: "):
        store.events.add(RUN, 1, "bad", {"value": value})

    store.events.add(RUN, 1, "good", {})
    assert [event.kind for event in store.events.find(RUN, 0, 9)] == ["good"]


def test_log_points_of_one_step_are_merged(store: Store) -> None:
    store.series.add(RUN, [SeriesRow(20, 2.0, {"a": 2.0}), SeriesRow(LARGE_STEP, 1.0, {"a": 1.0, "b": None})])
    store.series.add(RUN, [SeriesRow(LARGE_STEP, 3.0, {"b": 5.0})])

    assert store.series.find(RUN) == [
        SeriesRow(20, 2.0, {"a": 2.0}),
        SeriesRow(LARGE_STEP, 3.0, {"a": 1.0, "b": 5.0}),
    ]
    assert store.series.span(RUN) == (20, LARGE_STEP)
    assert store.series.names(RUN) == ["a", "b"]
    assert [stretch.high for stretch in store.series.envelope(RUN, ["b"], 0, LARGE_STEP, 10)["b"]] == [5.0]


@pytest.mark.parametrize("points", [10, 300, 5000])
def test_the_history_in_short_holds_every_peak(store: Store, points: int) -> None:
    values = ({"loss": float(step % 50), "rare": 1.0 if step == 777 else None} for step in range(2000))
    store.series.add(RUN, [SeriesRow(step, 1.0, some) for step, some in enumerate(values)])
    store.series.add(RUN, [SeriesRow(1234, 1.0, {"loss": 99.0})])

    found = store.series.envelope(RUN, ["loss", "rare", "unknown", 'od"d', "", "x" * 64], 3, 1996, points)

    assert all(len(found[name]) == 0 for name in ("unknown", 'od"d', "", "x" * 64))
    assert [(stretch.low_step, stretch.count) for stretch in found["rare"]] == [(777, 1)]
    assert sum(stretch.count for stretch in found["loss"]) == 1994
    assert max((stretch.high, stretch.high_step) for stretch in found["loss"]) == (99.0, 1234)
    assert (found["loss"][0].first_step, found["loss"][-1].last_step) == (3, 1996)


def test_a_branch_takes_its_steps_with_it(store: Store) -> None:
    store.series.add(RUN, [SeriesRow(step, 1.0, {"loss": float(step)}) for step in range(1000)])
    store.records.add(RUN, 700, {}, "aa")

    assert store.move_to_branch(RUN, 500, "old") == "old"

    assert (store.series.span(RUN), store.series.span("old")) == ((0, 500), (501, 999))
    assert store.series.envelope("old", ["loss"], 0, 999, 10)["loss"][0].low == 501.0
    assert store.series.envelope(RUN, ["loss"], 0, 999, 10)["loss"][-1].high == 500.0
    assert [row.step for row in store.records.find("old", limit=9)] == [700]


def test_what_is_set_back_twice_to_one_step_is_kept_twice(store: Store) -> None:
    """Two crashes after one checkpoint, or a crash right after a rollback."""
    ids = []
    for loss in (1.0, 2.0, 3.0):
        store.series.add(RUN, [SeriesRow(step, 1.0, {"loss": loss}) for step in range(1000)])
        store.records.add(RUN, 700, {"loss": loss}, "aa")
        ids.append(store.move_to_branch(RUN, 500, "old", is_reserved=lambda name: name == "old-2"))

    assert ids == ["old", "old-3", "old-4"]
    for loss, branch_id in zip((1.0, 2.0, 3.0), ("old", "old-3", "old-4"), strict=True):
        assert store.series.span(branch_id) == (501, 999)
        assert {stretch.low for stretch in store.series.envelope(branch_id, ["loss"], 0, 999, 10)["loss"]} == {loss}
        assert [row.record for row in store.records.find(branch_id, limit=9)] == [{"loss": loss}]


def test_a_record_of_the_step_itself_is_set_back_where_the_state_is_from_before_it(store: Store) -> None:
    for step in (499, 500, 501):
        store.series.add(RUN, [SeriesRow(step, 1.0, {"loss": 1.0})])
        store.records.add(RUN, step, {}, "aa")

    assert store.move_to_branch(RUN, 500, "old", 499) == "old"

    assert [row.step for row in store.records.find("old", limit=9)] == [500, 501]
    assert store.series.span(RUN) == (499, 500)


def test_nothing_to_set_back_takes_no_id(store: Store) -> None:
    store.series.add(RUN, [SeriesRow(500, 1.0, {"loss": 1.0})])

    assert store.move_to_branch(RUN, 500, "old") is None
    store.records.add(RUN, 501, {}, "aa")
    assert store.move_to_branch(RUN, 500, "old") == "old"


def test_a_number_that_no_database_can_hold_is_the_callers_fault(store: Store) -> None:
    with pytest.raises(ValueError, match="not storable: "):
        store.events.add(RUN, 2**63, "late", {})

    store.events.add(RUN, 2**63 - 1, "in time", {})


def test_ranks_are_kept(store: Store) -> None:
    rows = [RankRow(0, 1000.5, "gpu-07", 2**40, "cuda:0", "all-reduce", LARGE_STEP, 61.5, "  File …\n", 1000.25)]
    store.ranks.replace(RUN, rows)

    assert store.ranks.find(RUN) == rows


# Who watches


def test_a_watcher_is_told_of_a_change(store: Store, location: Path | str, eventually: Any) -> None:
    reader = Store(location)
    watch, clock = ChangePoller(reader, RUN), iter(range(10**9))
    looked = [watch.is_due(0.0)]
    eventually(lambda: reader.change_stamp(RUN) != (0, 0), what="the watch's beginning")
    watch.is_due(1e-6 * next(clock))
    before = reader.change_stamp(RUN)

    submit(store)

    eventually(lambda: reader.change_stamp(RUN) != before, what="the sign of the change")
    looked.append(watch.is_due(1e-6 * next(clock)))
    assert looked == [True, True]
    reader.close()


def test_what_a_transaction_marked_is_known_afterwards(store: Store) -> None:
    assert not store.runs.has_write_marker(RUN, "abc")
    store.runs.set_write_marker(RUN, "abc")

    assert store.runs.has_write_marker(RUN, "abc")
    assert not store.runs.has_write_marker(RUN, "abd")


def test_json_keeps_the_order_of_its_keys(store: Store) -> None:
    store.runs.update(RUN, snapshot={"z": 1, "a": {"y": 1, "b": 2}})

    assert (run := store.runs.get(RUN)) is not None
    assert json.dumps(run.snapshot) == '{"z": 1, "a": {"y": 1, "b": 2}}'
