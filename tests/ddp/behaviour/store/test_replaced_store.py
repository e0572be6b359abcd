"""A store that is emptied, removed or restored from a backup under a trainer: the run is back by itself."""

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from ddp.recording import record_copies
from ddp.watchdog.rank_status import RankStatus
from ddp.watchdog.stages import Stage
from service.alerts.log import AlertLog
from service.commands import CommandState, Kind
from service.config.live_settings import LiveSettings
from service.config.settings import RunConfig
from service.run.claim import claim
from service.run.directory import RunDirectory
from service.run.state import RunState
from service.store.store import RunRow, Store, StoreUnavailableError
from service.store.tables import metadata
from tests.ddp.harness.reporting import RUN, Reporting, events, steps
from tests.ddp.harness.training import Eventually, Training
from tests.postgres import PostgresService

Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddp.recording.recorder_thread.RETRY_SECONDS", 0.05)


@pytest.fixture
def store(location: Path | str) -> Iterator[Store]:
    """Another's look into the store."""
    with closing(Store(location, create=True)) as store:
        yield store


@pytest.fixture
def trainer(location: Path | str, tmp_path: Path, store: Store, eventually: Eventually) -> Iterator[Reporting]:
    """A trainer that has reported three log points, two records and its ranks."""
    lock = claim(RunDirectory(tmp_path), resume=True, fresh=False).lock
    trainer = Reporting(location, tmp_path, lock=lock).start()
    live = LiveSettings(RunConfig(), {"LOG_EVERY": 7})
    trainer.recorder.publish_settings(live)
    trainer.recorder.publish_rank_statuses([RankStatus(0, "box", 1, "cpu", Stage.DATA, 1, 0.0, 0.0, None, None)])
    trainer.log(1, 2, 3)
    trainer.save(2)
    trainer.save(3)
    eventually(lambda: store.records.count(RUN) == 2 and store.ranks.find(RUN), what="all that was reported")
    yield trainer
    trainer.close()
    lock.close()


def saved(store: Store) -> Rows:
    """A backup of everything."""
    with store.transaction() as connection:
        return {
            table.name: [dict(row._mapping) for row in connection.execute(sa.select(table))]
            for table in metadata.sorted_tables
        }


def empty(store: Store) -> None:
    restore(store, {})


def restore(store: Store, rows: Rows) -> None:
    """Put a backup in the place of everything, in one transaction as a database server would."""
    with store.transaction() as connection:
        for table in metadata.sorted_tables:
            connection.execute(sa.delete(table))
            if rows.get(table.name):
                connection.execute(sa.insert(table), rows[table.name])


def run_row(store: Store) -> RunRow:
    run = store.runs.get(RUN)
    assert run is not None
    return run


def test_a_store_that_was_emptied_has_the_run_again_with_all_that_the_trainer_knows(
    trainer: Reporting, store: Store, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    before, last_id = run_row(store), store.events.last_id(RUN)
    files = {row.step: row.sha256 for row in store.records.find(RUN, limit=9)}
    empty(store)
    trainer.log(4)
    eventually(lambda: store.records.count(RUN) == 2, what="the copies of the records")
    eventually(lambda: store.ranks.find(RUN), what="the ranks")
    eventually(lambda: (run := store.runs.get(RUN)) and run.snapshot, what="the snapshot")

    after = run_row(store)
    assert (after.state, after.config, after.live, after.started_at) == (
        RunState.RUNNING, {"SCALE": 3}, before.live, before.started_at,
    )  # fmt: skip
    assert after.reported_state(time.time()) is RunState.RUNNING
    assert {row.step: row.sha256 for row in store.records.find(RUN, limit=9)} == files
    assert steps(store) == [4]
    (gap,) = events(store, "store replaced")
    assert (gap["first_step"], gap["last_step"], gap["records"]) == (0, 4, 2)
    assert caplog.text.count("The store was emptied under this run, which is open there again.") == 1
    assert events(store, "second trainer") == []
    assert store.events.last_id(RUN) > last_id + 10**6  # so that nobody who follows the events misses them


def test_who_follows_the_alerts_goes_on_after_the_store_was_emptied(
    trainer: Reporting, store: Store, eventually: Eventually
) -> None:
    followed = AlertLog(store, RUN)
    for _ in range(20):
        store.events.add(RUN, 3, "something", {})
    followed.current(run_row(store), None, time.time())
    empty(store)
    eventually(lambda: events(store, "store replaced"), what="the event")
    trainer.recorder.event("not finite", {"steps": [4]})
    eventually(lambda: events(store, "not finite"), what="the next event")

    assert list(followed.current(run_row(store), None, time.time()).firing) == ["non_finite"]


def test_a_backup_of_this_start_is_completed(
    trainer: Reporting, store: Store, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    backup = saved(store)
    trainer.log(4, 5, 6)
    trainer.save(5)
    trainer.save(3, trigger="manual")  # once more at that step, so its copy in the backup is an old one
    eventually(lambda: store.records.count(RUN) == 3 and 6 in steps(store), what="all that was reported")
    newest = {row.step: row.sha256 for row in store.records.find(RUN, limit=9)}
    trainer.recorder.mark_step(7)
    restore(store, backup)
    trainer.log(7)
    eventually(lambda: store.records.count(RUN) == 3, what="the copies of the records")
    eventually(lambda: (run := store.runs.get(RUN)) and run.step == 7, what="the heartbeat")

    assert {row.step: row.sha256 for row in store.records.find(RUN, limit=9)} == newest
    assert steps(store) == [1, 2, 3, 7]
    (gap,) = events(store, "store replaced")
    assert (gap["first_step"], gap["last_step"], gap["records"]) == (4, 7, 1)
    assert caplog.text.count("The store was restored under this run") == 1
    assert run_row(store).state is RunState.RUNNING


def test_a_backup_from_before_this_start_is_completed(
    location: Path | str, tmp_path: Path, store: Store, eventually: Eventually
) -> None:
    earlier = Reporting(location, tmp_path).start()
    earlier.log(1)
    command = store.commands.submit(RUN, Kind.STOP, {}, actor="eva", source="cli", expires_at=1.0)
    eventually(lambda: steps(store) == [1], what="a log point")
    earlier.close()
    backup = saved(store)
    with closing(Store(location)) as other:
        for _ in range(3):
            other.open_run(RUN, {})
    trainer = Reporting(location, tmp_path, step=1).start()
    trainer.save(2)
    eventually(lambda: store.records.count(RUN) == 1, what="a record")
    restore(store, backup)
    eventually(lambda: store.records.count(RUN) == 1, what="the copy of the record")
    trainer.close()

    (gap,) = events(store, "store replaced")
    assert "Log points of the steps 2 to 2 are missing" in gap["reason"]
    assert events(store, "second trainer") == []
    assert (ownership := store.runs.ownership(RUN)) is not None
    assert (ownership.token, ownership.start_number) == (trainer.registration.owner.token, 5)
    assert (found := store.commands.get(command.id)) is not None
    assert found.state in {CommandState.EXPIRED, CommandState.REJECTED}


def test_where_no_log_point_is_missing_none_is_said_to_be(
    location: Path | str, tmp_path: Path, store: Store, eventually: Eventually
) -> None:
    earlier = Reporting(location, tmp_path).start()
    earlier.log(1)
    eventually(lambda: steps(store) == [1], what="a log point")
    earlier.close()
    backup = saved(store)
    trainer = Reporting(location, tmp_path, step=1).start()
    eventually(lambda: run_row(store).state is RunState.RUNNING, what="the start")
    restore(store, backup)
    eventually(lambda: events(store, "store replaced"), what="the event")
    trainer.close()

    (gap,) = events(store, "store replaced")
    assert "open there again. No log point is missing; 0 records are copied" in gap["reason"]


def test_a_start_copies_the_records_that_its_store_lacks(
    location: Path | str, tmp_path: Path, store: Store, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_copies, "BATCH_SIZE", 3)
    first = Reporting(location, tmp_path).start()
    for step in range(1, 11):
        first.save(step)
    eventually(lambda: store.records.count(RUN) == 10, what="all records")
    first.close()
    versions = store.records.find_versions(RUN, limit=20)
    branch = tmp_path / "archive" / f"{RUN}-branch-0"
    branch.mkdir(parents=True)
    (tmp_path / "Statistik_10.json").rename(branch / "Statistik_10.json")
    (tmp_path / "Statistik_30.json").write_text("{")
    (tmp_path / "Statistik_40.json").write_text('{"run_id": "another", "step_current": 40}')
    empty(store)
    second = Reporting(location, tmp_path, step=9).start()
    eventually(lambda: store.records.count(RUN) == 9, what="the copies of the records")
    eventually(lambda: store.records.count(branch.name) == 1, what="the copy of the branch's record")
    second.close()

    copies = store.records.find_versions(RUN, limit=20)
    assert [(it.step, it.sha256) for it in copies] == [(it.step, it.sha256) for it in versions[:9]]
    assert [it.time for it in copies] == pytest.approx([it.time for it in versions[:9]], abs=30)
    assert events(store, "record") == events(store, "store replaced") == []


def has_run(store: Store) -> bool:
    try:
        return store.runs.get(RUN) is not None
    except StoreUnavailableError:  # it is just being made
        return False


def test_a_file_without_tables_gets_them_again(tmp_path: Path, eventually: Eventually) -> None:
    trainer = Reporting(tmp_path / "leitstand.db", tmp_path).start()
    with closing(Store(tmp_path / "leitstand.db")) as store:
        eventually(lambda: has_run(store), what="the run")
        with store.transaction() as connection:
            for table in metadata.sorted_tables:
                connection.execute(sa.schema.DropTable(table))
        trainer.log(1)
        eventually(lambda: has_run(store) and events(store, "store replaced"), what="the run")
        trainer.close()


def test_a_file_that_was_removed_is_made_anew_unless_the_directory_is_anothers(
    tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("service.run.lock.CHECK_SECONDS", 0.1)
    directory = RunDirectory(tmp_path)
    lock = claim(directory, resume=True, fresh=False).lock
    trainer = Reporting(directory.store, tmp_path, lock=lock).start()
    with closing(Store(directory.store)) as store:
        trainer.save(1)
        eventually(lambda: store.records.count(RUN) == 1, what="a record")
        directory.store.unlink()
        eventually(lambda: has_run(store), what="the run")
        eventually(lambda: store.records.count(RUN) == 1, what="the copy of the record")

        (tmp_path / ".lock").unlink()
        other = claim(directory, resume=True, fresh=True).lock  # moves the store to the archive
        eventually(lambda: "since .lock was removed there" in caplog.text, what="the loss of the directory")
        trainer.save(2)
        eventually(lambda: [*tmp_path.glob("archive/*-other-trainer/Statistik_2.json")], what="the record's file")
        trainer.close()
        assert not directory.store.exists()
        other.close()
        lock.close()


def test_a_dump_is_restored_under_a_trainer_and_an_api_as_the_page_says(
    postgres: PostgresService, store_url: str, tmp_path: Path, repository: Path, eventually: Eventually
) -> None:
    page = (repository / "docs" / "operations.md").read_text()
    commands = re.findall(r"^\$ (pg_(?:dump|restore) .*)$", page, re.MULTILINE)
    assert len(commands) == 2

    def run(command: str) -> None:
        path = f"{postgres.program('pg_dump').parent}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "STORE_URL": store_url}
        subprocess.run(command, shell=True, check=True, cwd=tmp_path, env=environment)

    trainer = Reporting(store_url, tmp_path / "run").start()
    with closing(Store(store_url)) as store:
        trainer.save(1)
        eventually(lambda: store.records.count(RUN) == 1, what="a record")
        run(commands[0])
        trainer.save(2)
        trainer.log(3)
        eventually(
            lambda: store.records.count(RUN) == 2 and steps(store) == [1, 2, 3], what="what comes after the dump"
        )
        run(commands[1])
        eventually(lambda: events(store, "store replaced"), what="the event")
        trainer.save(4)
        eventually(lambda: store.records.count(RUN) == 3, what="all records")
        trainer.close()

        assert steps(store) == [1, 4]
        assert run_row(store).state is RunState.STOPPED


def test_a_training_whose_database_is_made_anew_is_back_by_itself(
    postgres: PostgresService, store_url: str, train: Callable[..., Training], eventually: Eventually
) -> None:
    run = train(
        1, MAX_STEPS=10**6, LOG_EVERY=5, VAL_STEP_EVERY=50, environment={"STORE_URL": store_url}
    )  # fmt: skip
    with closing(Store(store_url)) as run.store:
        run.wait_for_step(120)
        run.ask(Kind.PAUSE)
        postgres.drop_database(store_url)
        with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{store_url.rpartition("/")[2]}"'.encode())

        def is_back() -> bool:
            row = run.run()
            return row is not None and row.state is RunState.PAUSED and row.snapshot is not None

        eventually(is_back, seconds=60, what="the run")
        (gap,) = run.events("store replaced")
        eventually(lambda: run.store.records.count(gap["run_id"]) == len(list(run.root.glob("Stat*"))), what="records")
        assert gap["details"]["first_step"] == 0
        resumed, stopped = run.ask(Kind.RESUME, Kind.STOP)

        assert (resumed.state, stopped.state) == (CommandState.DONE, CommandState.DONE)
        assert run.end() == 0
        assert run.output.count("The store was emptied under this run") == 1
