"""The store: concurrent, durable, and honest when it cannot be used."""

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from service.commands import Command, CommandState, Kind
from service.run.state import RunState
from service.store.store import SeriesRow, Store, StoreUnavailableError
from service.store.tables import metadata
from tests.service.harness.locked import locked
from tests.service.harness.old_store import write_old_store

FINAL = [state for state in CommandState if state.is_final]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "leitstand.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store(path, create=True, keep_open=True)
    store.open_run("run-1", {"SCALE": 3})
    yield store
    store.close()


def submit(store: Store, kind: Kind = Kind.VALIDATE) -> Command:
    return store.commands.submit("run-1", kind, {}, actor="eva", source="cli")


def test_a_new_run_is_starting(store: Store) -> None:
    run = store.runs.latest()

    assert run is not None
    assert (run.id, run.state, run.step, run.snapshot, run.config) == ("run-1", "starting", 0, None, {"SCALE": 3})
    assert run.reported_state(time.time()) is RunState.STARTING
    assert run.reported_state(time.time() + 11) is RunState.LOST


def test_an_empty_store_has_no_run(path: Path) -> None:
    assert Store(path, create=True).runs.latest() is None


def test_a_run_is_updated_and_continued_under_its_id(store: Store) -> None:
    store.runs.update("run-1", state=RunState.FAILED.value, step=120, reason="no space", snapshot={"a": None})
    store.open_run("run-1", {"SCALE": 3, "SEED": 1})

    run = store.runs.latest()
    assert run is not None
    assert (run.state, run.step, run.reason, run.snapshot) == ("starting", 120, None, {"a": None})
    assert run.config == {"SCALE": 3, "SEED": 1}


def test_the_current_run_is_the_one_that_started_last(store: Store) -> None:
    store.open_run("run-2", {})
    assert (run := store.runs.latest()) is not None
    assert run.id == "run-2"

    store.open_run("run-1", {})

    assert (run := store.runs.latest()) is not None
    assert run.id == "run-1"


def test_commands_keep_the_order_of_acceptance(store: Store) -> None:
    ids = [submit(store).id for _ in range(5)]

    assert [command.id for command in store.commands.find("run-1")] == ids
    assert [command.id for command in store.commands.find("run-1", limit=2)] == ids[-2:]
    assert store.commands.find("run-2") == []


def test_a_command_goes_from_queued_over_running_to_done(store: Store) -> None:
    command = submit(store)
    assert store.commands.get(command.id) == command

    assert store.commands.begin(command.id)
    assert [waiting.id for waiting in store.commands.find("run-1", CommandState.RUNNING)] == [command.id]
    assert store.commands.find("run-1", CommandState.QUEUED) == []
    assert store.commands.finish(command.id, CommandState.DONE, step=12, result={"record": "Statistik_12.json"})

    done = store.commands.get(command.id)
    assert done is not None
    assert (done.state, done.step, done.result) == (CommandState.DONE, 12, {"record": "Statistik_12.json"})
    assert done.created_at <= (done.started_at or 0) <= (done.finished_at or 0)


@pytest.mark.parametrize("final", FINAL)
@pytest.mark.parametrize("later", FINAL)
def test_a_command_never_leaves_a_final_state(store: Store, final: CommandState, later: CommandState) -> None:
    command = submit(store)
    store.commands.finish(command.id, final, step=1, reason="first")
    ended = store.commands.get(command.id)

    assert not store.commands.begin(command.id)
    assert not store.commands.finish(command.id, later, step=2, reason="second")
    store.open_run("run-1", {})

    assert store.commands.get(command.id) == ended


def test_a_cancelled_command_is_not_begun_and_a_running_one_not_begun_twice(store: Store) -> None:
    cancelled, running = submit(store), submit(store)
    store.commands.finish(cancelled.id, CommandState.CANCELLED)

    assert [store.commands.begin(cancelled.id), store.commands.begin(running.id), store.commands.begin(running.id)] == [
        False, True, False,
    ]  # fmt: skip


def test_a_crash_leaves_running_commands_failed_and_queued_ones_queued(store: Store) -> None:
    running, queued = submit(store), submit(store)
    store.commands.begin(running.id)
    other = store.commands.submit("run-2", Kind.STOP, {}, actor="x", source="api")
    store.commands.begin(other.id)

    store.open_run("run-1", {})

    interrupted = store.commands.get(running.id)
    assert interrupted is not None
    assert (interrupted.state, interrupted.reason) == (CommandState.FAILED, "interrupted")
    assert interrupted.finished_at is not None
    assert store.commands.get(queued.id) == queued
    assert (elsewhere := store.commands.get(other.id)) is not None
    assert elsewhere.state is CommandState.RUNNING


def test_an_unknown_command_is_none(store: Store) -> None:
    assert store.commands.get("unknown") is None
    assert not store.commands.finish("unknown", CommandState.DONE)


def test_log_points_of_one_step_are_merged_and_read_in_step_order(store: Store) -> None:
    store.series.add("run-1", [SeriesRow(20, 2.0, {"a": 2.0}), SeriesRow(10, 1.0, {"a": 1.0, "b": None})])
    store.series.add("run-1", [SeriesRow(10, 3.0, {"b": 5.0}), SeriesRow(100, 4.0, {"a": 9.0})])

    assert store.series.find("run-1") == [
        SeriesRow(10, 3.0, {"a": 1.0, "b": 5.0}), SeriesRow(20, 2.0, {"a": 2.0}), SeriesRow(100, 4.0, {"a": 9.0}),
    ]  # fmt: skip
    assert [row.step for row in store.series.find("run-1", 20, 99)] == [20]
    assert [row.step for row in store.series.find("run-1", 20)] == [20, 100]
    assert store.series.find("run-2") == []


def test_a_log_point_without_values_is_kept(store: Store) -> None:
    store.series.add("run-1", [SeriesRow(10, 1.0, {})])
    store.series.add("run-1", [SeriesRow(10, 2.0, {"a": 1.0})])

    assert store.series.find("run-1") == [SeriesRow(10, 2.0, {"a": 1.0})]


def test_a_later_record_of_a_step_replaces_the_earlier_one(store: Store) -> None:
    store.records.add("run-1", 500, {"step_current": 500}, "aa")
    store.records.add("run-1", 50, {"step_current": 50}, "bb")
    store.records.add("run-1", 500, {"step_current": 500, "x": 1}, "cc")

    rows = [(row.step, row.sha256, row.record) for row in store.records.find("run-1", limit=10)]
    assert rows == [(50, "bb", {"step_current": 50}), (500, "cc", {"step_current": 500, "x": 1})]


def test_a_resume_sets_aside_what_it_will_walk_again(store: Store) -> None:
    for step in (100, 200):
        store.series.add("run-1", [SeriesRow(step, 1.0, {})])
        store.records.add("run-1", step, {}, "aa")
    store.series.add("run-2", [SeriesRow(200, 1.0, {})])

    assert store.move_to_branch("run-1", 100, "run-2") == "run-2-2"

    assert [row.step for row in store.series.find("run-1")] == [100]
    assert [row.step for row in store.records.find("run-1", limit=10)] == [100]
    assert [row.step for row in store.series.find("run-2")] == [200]
    assert [row.step for row in store.series.find("run-2-2")] == [200]
    assert [row.step for row in store.records.find("run-2-2", limit=10)] == [200]


@pytest.mark.parametrize("keep_open", [False, True])
def test_eight_threads_lose_nothing(path: Path, store: Store, keep_open: bool) -> None:
    shared = Store(path, keep_open=keep_open)

    def work(number: int) -> list[str]:
        ids = []
        for turn in range(10):
            command = submit(shared)
            assert shared.commands.begin(command.id)
            shared.series.add("run-1", [SeriesRow(number * 100 + turn, 1.0, {"a": float(turn)})])
            assert shared.commands.finish(command.id, CommandState.DONE, step=turn)
            ids.append(command.id)
        return ids

    with ThreadPoolExecutor(8) as pool:
        ids = [command_id for ids in pool.map(work, range(8)) for command_id in ids]
    shared.close()

    commands = store.commands.find("run-1")
    assert {command.id for command in commands} == set(ids)
    assert {command.state for command in commands} == {CommandState.DONE}
    assert len(store.series.find("run-1")) == 80


def test_of_eight_threads_exactly_one_begins_a_command(path: Path, store: Store) -> None:
    command = submit(store)
    gate = threading.Barrier(8)

    def begin(_number: int) -> bool:
        gate.wait()
        return Store(path).commands.begin(command.id)

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(begin, range(8))) == [False] * 7 + [True]


def test_readers_are_not_held_up_by_a_writer(path: Path, store: Store) -> None:
    reader = Store(path, busy_seconds=0.0)

    with locked(path):
        assert reader.runs.latest() is not None


def test_a_locked_store_is_unavailable_after_the_time_allowed(path: Path, store: Store) -> None:
    impatient = Store(path, busy_seconds=0.05)

    with locked(path), pytest.raises(StoreUnavailableError, match="database is locked"):
        submit(impatient)

    assert submit(impatient).state is CommandState.QUEUED


def test_a_writer_waits_for_a_short_lock(path: Path, store: Store) -> None:
    patient = Store(path, busy_seconds=20.0)
    with ThreadPoolExecutor(1) as pool:
        with locked(path):
            submitted = pool.submit(submit, patient)
            assert not submitted.done()
        assert submitted.result(timeout=20).state is CommandState.QUEUED


def test_a_store_that_is_absent_is_unavailable_and_is_not_made_by_looking(path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="there is no store"):
        Store(path).runs.latest()

    assert not path.exists()


def test_a_file_that_is_no_database_is_unavailable(path: Path) -> None:
    path.write_bytes(b"something else entirely" * 100)

    with pytest.raises(StoreUnavailableError, match="file is not a database"):
        Store(path).runs.latest()


def test_a_place_where_no_store_can_be_made_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="unable to open database file"):
        Store(tmp_path / "missing" / "leitstand.db", create=True)


def test_a_store_that_a_fresh_start_replaced_is_seen(path: Path, store: Store) -> None:
    reader = Store(path)
    assert (run := reader.runs.latest()) is not None
    assert run.id == "run-1"
    store.close()
    for file in path.parent.glob("leitstand.db*"):
        file.rename(file.with_name(f"archived-{file.name}"))
    Store(path, create=True).open_run("run-2", {})

    assert (run := reader.runs.latest()) is not None
    assert run.id == "run-2"


def test_a_trainer_whose_file_was_replaced_goes_on_in_the_one_that_lies_there(path: Path, store: Store) -> None:
    for file in path.parent.glob("leitstand.db*"):
        file.rename(file.with_name(f"archived-{file.name}"))
    Store(path, create=True).open_run("run-2", {})

    assert (run := store.runs.latest()) is not None
    assert run.id == "run-2"


def test_looking_at_a_store_that_nobody_writes_to_leaves_its_folder_as_it_is(path: Path, store: Store) -> None:
    """Else who watches the folder for new records would list it again after every look."""
    store.close()
    reader = Store(path)
    reader.runs.latest()  # leaves an empty write-ahead log
    before = path.parent.stat().st_mtime_ns

    for _ in range(3):
        reader.runs.latest()
    assert path.parent.stat().st_mtime_ns == before

    command = submit(reader)
    assert reader.commands.get(command.id) == command
    with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as alone:
        assert alone.execute("SELECT id FROM commands").fetchall() == [(command.id,)]  # not only in the log


def test_a_path_may_hold_any_sign(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"100% \xff ?mode=ro#\xc3\xa4")
    folder.mkdir()
    Store(folder / "leitstand.db", create=True, keep_open=True).open_run("run-1", {})

    assert (run := Store(folder / "leitstand.db").runs.latest()) is not None
    assert run.id == "run-1"


def test_an_acknowledged_command_is_on_disk_in_wal_mode(path: Path, store: Store) -> None:
    command = submit(store)

    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("SELECT id FROM commands").fetchall() == [(command.id,)]


def test_the_change_stamp_differs_after_a_write_and_only_then(path: Path, store: Store) -> None:
    reader = Store(path)
    before = reader.change_stamp("run-1")
    assert reader.runs.latest() is not None
    assert reader.change_stamp("run-1") == before

    submit(store)

    assert reader.change_stamp("run-1") != before


def test_a_store_without_a_log_has_the_empty_stamp(path: Path) -> None:
    assert Store(path).change_stamp("run-1") == (0, 0)


def test_columns_hold_null_as_null_and_json_as_json(path: Path, store: Store) -> None:
    submit(store)

    with closing(sqlite3.connect(path)) as connection:
        row = connection.execute("SELECT result, reason, arguments FROM commands").fetchone()
    assert row[:2] == (None, None)
    assert json.loads(row[2]) == {}


def test_a_command_that_waited_long_for_a_trainer_expires_at_the_next_start(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.open_run("run", {})
    old = store.commands.submit("run", Kind.STOP, {}, actor="me", source="api")
    monkeypatch.setattr("service.store.queries.commands.WAIT_FOR_TRAINER_SECONDS", -1.0)
    store.open_run("run", {})

    expired = store.commands.get(old.id)
    assert expired is not None
    assert expired.state is CommandState.EXPIRED
    assert "no trainer was there" in str(expired.reason)
    assert store.commands.begin(old.id) is False


def test_the_end_of_a_run_rejects_what_is_still_queued_and_nothing_else(store: Store) -> None:
    store.open_run("run", {})
    done, queued = (store.commands.submit("run", Kind.PAUSE, {}, actor="me", source="api") for _ in range(2))
    elsewhere = store.commands.submit("other", Kind.PAUSE, {}, actor="me", source="api")
    store.commands.finish(done.id, CommandState.DONE)

    store.commands.reject_queued("run", "the run ended (stopped)")

    states = [found.state for item in (done, queued, elsewhere) if (found := store.commands.get(item.id))]
    assert states == [CommandState.DONE, CommandState.REJECTED, CommandState.QUEUED]


def test_what_is_written_together_is_kept_together_or_not_at_all(store: Store) -> None:
    store.open_run("run", {})

    def half() -> None:
        with store.transaction_scope():
            store.events.add("run", 1, "first", {})
            raise KeyError("the second never came")

    with pytest.raises(KeyError):
        half()
    with store.transaction_scope():
        store.events.add("run", 2, "one", {})
        store.events.add("run", 2, "two", {})

    assert [event.kind for event in store.events.find("run", 0, 10)] == ["one", "two"]


def test_values_that_json_cannot_hold_are_the_callers_fault_not_the_stores(store: Store) -> None:
    store.open_run("run", {})

    with pytest.raises(ValueError, match="not storable"):
        store.events.add("run", 1, "bad", {"a set": {1}})


def test_what_a_command_waits_for_is_kept_with_it(store: Store) -> None:
    command = store.commands.submit(
        "run-1", Kind.SET, {"LR_SCALE": 0.5}, actor="e", source="api", apply_at_step=9, expires_at=4e9
    )

    (kept,) = store.commands.find("run-1", CommandState.QUEUED)
    assert kept == command
    assert (kept.apply_at_step, kept.expires_at, kept.arguments) == (9, 4e9, {"LR_SCALE": 0.5})


def test_commands_whose_time_has_run_out_expire_and_no_others(store: Store) -> None:
    over, running, later, unlimited = (
        store.commands.submit("run-1", Kind.PAUSE, {}, actor="eva", source="api", expires_at=expires_at)
        for expires_at in (4e9, 4e9, 4e9 + 1, None)
    )
    store.commands.begin(running.id)

    assert store.commands.expire("run-1", 4e9 - 1) == 0
    assert store.commands.expire("run-2", 5e9) == 0
    assert store.commands.expire("run-1", 4e9) == 1

    states = [found.state for item in (over, running, later, unlimited) if (found := store.commands.get(item.id))]
    assert states == [CommandState.EXPIRED, CommandState.RUNNING, CommandState.QUEUED, CommandState.QUEUED]
    expired = store.commands.get(over.id)
    assert expired is not None
    assert (expired.reason, expired.finished_at) == ("its time ran out before it could begin", 4e9)


def test_a_command_whose_time_has_run_out_is_not_begun_though_nobody_let_it_expire(store: Store) -> None:
    command = store.commands.submit("run-1", Kind.STOP, {}, actor="eva", source="api", expires_at=time.time() - 0.001)

    assert not store.commands.begin(command.id)


def test_only_a_queued_command_is_cancelled(store: Store) -> None:
    queued, running, done = (submit(store) for _ in range(3))
    store.commands.begin(running.id)
    store.commands.finish(done.id, CommandState.DONE)

    assert [store.commands.cancel(item.id, "by eva") for item in (queued, running, done)] == [True, False, False]
    assert not store.commands.cancel("unknown", "by eva")

    cancelled = store.commands.get(queued.id)
    assert cancelled is not None
    assert (cancelled.state, cancelled.reason) == (CommandState.CANCELLED, "by eva")
    assert cancelled.finished_at is not None


def test_of_many_threads_a_command_is_either_begun_or_cancelled_once(path: Path, store: Store) -> None:
    command = submit(store)
    gate = threading.Barrier(8)

    def act(number: int) -> bool:
        gate.wait()
        other = Store(path)
        return other.commands.cancel(command.id, "by eva") if number % 2 else other.commands.begin(command.id)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(act, range(8))) == 1


def test_a_command_that_says_itself_how_long_it_waits_outlasts_a_trainer_that_was_away(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    conditions = [
        {"apply_at_step": 500},
        {"expires_at": 4e9},
        {"expires_at": 1.0},
        {"apply_at_step": 9, "expires_at": 1.0},
    ]
    ids = [store.commands.submit("run-1", Kind.STOP, {}, actor="e", source="api", **some).id for some in conditions]  # type: ignore[arg-type]
    monkeypatch.setattr("service.store.queries.commands.WAIT_FOR_TRAINER_SECONDS", -1.0)

    store.open_run("run-1", {})

    states = [found.state for command_id in ids if (found := store.commands.get(command_id))]
    assert states == [CommandState.QUEUED, CommandState.QUEUED, CommandState.EXPIRED, CommandState.EXPIRED]


def test_live_settings_and_facts_are_unknown_until_the_trainer_says_them(store: Store) -> None:
    assert (run := store.runs.latest()) is not None
    assert (run.live, run.facts) == (None, None)

    store.runs.update("run-1", live={"changes": {"MAX_LR": 1e-3}}, facts={"has_perceptual": True}, config={"SCALE": 4})
    store.runs.update("run-1", step=5)

    assert (run := store.runs.latest()) is not None
    assert (run.live, run.facts) == ({"changes": {"MAX_LR": 1e-3}}, {"has_perceptual": True})
    assert run.config == {"SCALE": 4}


def test_a_transaction_within_together_is_a_part_of_it(store: Store) -> None:
    def half() -> None:
        with store.transaction_scope():
            store.open_run("run-2", {})  # makes one of several itself
            store.events.add("run-2", 1, "first", {})
            raise KeyError("the second never came")

    with pytest.raises(KeyError):
        half()

    assert (run := store.runs.latest()) is not None
    assert run.id == "run-1"
    assert store.events.find("run-2", 0, 10) == []


@pytest.mark.parametrize("create", [True, False])
def test_a_store_of_the_previous_version_goes_on_working(path: Path, create: bool) -> None:
    write_old_store(path)
    store = Store(path, create=create)

    assert (run := store.runs.latest()) is not None
    assert (run.id, run.step, run.live, run.facts) == ("run-1", 120, None, None)
    assert (old := store.commands.get("c0ffee")) is not None
    assert (old.state, old.result, old.apply_at_step) == (CommandState.DONE, {"record": "Statistik_100.json"}, None)
    store.runs.update("run-1", live={"changes": {}})
    new = store.commands.submit("run-1", Kind.PAUSE, {}, actor="eva", source="cli", apply_at_step=130)
    assert Store(path).commands.find("run-1") == [old, new]


def test_a_store_of_the_previous_version_has_every_column_and_index_of_this_one_after_it_was_opened(path: Path) -> None:
    write_old_store(path)

    Store(path, create=True).close()

    inspector = sa.inspect(sa.create_engine(f"sqlite:///{path}", poolclass=sa.pool.NullPool))
    for table in metadata.sorted_tables:
        assert {column["name"] for column in inspector.get_columns(table.name)} == {it.name for it in table.columns}
        assert {index["name"] for index in inspector.get_indexes(table.name)} >= {it.name for it in table.indexes}


def test_eight_threads_may_open_a_store_of_the_previous_version_at_once(path: Path) -> None:
    write_old_store(path)
    gate = threading.Barrier(8)

    def look(number: int) -> int:
        gate.wait()
        run = Store(path, create=number % 2 == 0).runs.latest()
        return run.step if run else -1

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(look, range(8))) == [120] * 8


def test_a_store_that_is_up_to_date_is_opened_while_somebody_writes(path: Path, store: Store) -> None:
    with locked(path):
        assert Store(path, create=True, busy_seconds=0.0).runs.latest() is not None


def test_looking_at_an_empty_file_makes_no_store_of_it(path: Path) -> None:
    path.touch()

    with pytest.raises(StoreUnavailableError, match="no such table"):
        Store(path).runs.latest()
