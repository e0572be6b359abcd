"""Two trainers of one run: of a copied run directory, or of a machine that was only cut off while the run went on."""

import json
import logging
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ddp.recording.store_writer import StoreWriter
from service.alerts.log import AlertLog
from service.atomic_files import sha256_of
from service.commands import CommandState, Kind
from service.errors import RunDirectoryError
from service.run.claim import Claim, claim
from service.run.directory import RunDirectory
from service.run.record import list_records
from service.run.state import RunState
from service.store.store import Store, StoreUnavailableError
from service.store.tables import ranks, runs
from tests.ddp.harness.reporting import RUN, Reporting, events, point, steps
from tests.ddp.harness.training import Eventually, Training
from tests.postgres import PostgresService

Report = Callable[..., Reporting]


@pytest.fixture
def report(location: Path | str, tmp_path: Path) -> Iterator[Report]:
    """Start to report the run; every trainer has a run directory of its own, unless the store is a file in it."""
    with ExitStack() as stack:
        count = iter(range(9))

        def start(**options: object) -> Reporting:
            root = tmp_path if isinstance(location, Path) else tmp_path / f"copy {next(count)}"
            reporting = Reporting(location, root, **options)  # type: ignore[arg-type]
            stack.callback(reporting.close)
            return reporting.start()

        yield start


@pytest.fixture
def store(location: Path | str) -> Iterator[Store]:
    """Another's look into the store."""
    with closing(Store(location, create=True)) as store:
        yield store


def alerts(store: Store) -> dict[str, str]:
    run = store.runs.get(RUN)
    assert run is not None
    return {name: it.sentence for name, it in AlertLog(store, RUN).current(run, None, time.time()).firing.items()}


def test_the_older_of_two_trainers_says_once_that_it_falls_silent_and_keeps_its_records_in_files(
    report: Report, store: Store, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    older = report()
    older.log(1, 2)
    eventually(lambda: steps(store) == [1, 2], what="the older one's log points")
    younger = report(step=2)
    eventually(lambda: events(store, "second trainer"), what="the older one's silence")
    older.log(3)
    older.save(3, trigger="manual")
    older.recorder.set_state(RunState.PAUSED)
    younger.log(4)
    younger.save(4)
    eventually(lambda: store.records.get(RUN, 4), what="the younger one's record")
    eventually((older.directory.root / "Statistik_3.json").exists, what="the older one's record")

    assert steps(store) == [1, 2, 4]
    (said,) = events(store, "second trainer")
    assert (said["host"], said["pid"], said["start_number"]) == (socket.gethostname(), os.getpid(), 2)
    assert f"Another trainer ({socket.gethostname()}, process {os.getpid()}), started later" in said["reason"]
    assert caplog.text.count("started later, reports as this run") == 1
    assert list(alerts(store)) == ["second_trainer"]
    assert alerts(store)["second_trainer"] == said["reason"]
    older.close(RunState.FINISHED)
    assert (run := store.runs.get(RUN)) is not None
    assert run.state is RunState.RUNNING
    assert len(events(store, "second trainer gone")) == 1
    assert alerts(store) == {}
    younger.close(RunState.FINISHED)
    assert (run := store.runs.get(RUN)) is not None
    assert (run.state, steps(store)) == (RunState.FINISHED, [1, 2, 4])
    assert "are lost" not in caplog.text


def test_the_alert_ends_with_the_next_start(report: Report, store: Store, eventually: Eventually) -> None:
    report()
    report()
    eventually(lambda: events(store, "second trainer"), what="the older one's silence")
    assert list(alerts(store)) == ["second_trainer"]

    report()
    eventually(lambda: len(events(store, "second trainer")) == 2, what="the second one's silence")
    before = alerts(store)["second_trainer"]
    store.open_run(RUN, {})

    assert alerts(store).get("second_trainer") != before  # the third may have noticed this start already


def test_a_restart_takes_the_run_over_without_a_word(
    report: Report, store: Store, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    for start in range(1, 4):
        trainer = report(step=10 * (start - 1))
        trainer.log(10 * start)
        eventually(lambda expected=10 * start: steps(store)[-1:] == [expected], what="a log point")
        if start == 1:
            trainer.recorder.close_for_restart()
            trainer.is_closed = True
        else:
            trainer.close()

    assert steps(store) == [10, 20, 30]
    assert {event.kind for event in store.events.find(RUN, 0, 100)} == {"registered"}
    assert caplog.text == ""
    assert alerts(store) == {}
    assert (found := store.runs.ownership(RUN)) is not None
    assert (found.token, found.pid, found.start_number) == (trainer.registration.owner.token, os.getpid(), 3)


def test_nothing_of_a_batch_of_the_older_one_is_kept(report: Report, store: Store, eventually: Eventually) -> None:
    """Not even of what it has written since its last heartbeat."""
    older = report()
    eventually(lambda: (run := store.runs.get(RUN)) and run.state is RunState.RUNNING, what="the first report")
    store.open_run(RUN, {})
    older.log(*range(1, 51))
    older.recorder.event("something", {})
    eventually(lambda: events(store, "second trainer"), what="the older one's silence")

    assert steps(store) == []
    assert [event.kind for event in store.events.find(RUN, 0, 9)] == ["registered", "second trainer"]


def test_only_the_trainer_that_reports_the_run_begins_its_commands(report: Report, store: Store) -> None:
    owner = report()
    owner.close()
    store.open_run(RUN, {})
    command = store.commands.submit(RUN, Kind.PAUSE, {}, actor="eva", source="cli")

    assert not store.commands.begin(command.id, owner=owner.registration.owner.token)
    assert (queued := store.commands.get(command.id)) is not None
    assert queued.state is CommandState.QUEUED
    assert store.commands.begin(command.id)


def test_a_command_is_begun_by_the_younger_one_alone(report: Report, store: Store, eventually: Eventually) -> None:
    older, younger = report(), report()
    command = store.commands.submit(RUN, Kind.PAUSE, {}, actor="eva", source="cli")
    begun = younger.command_queue
    eventually(lambda: begun.take(0), what="the command")

    assert older.command_queue.take_all() == []
    assert (running := store.commands.get(command.id)) is not None
    assert running.state is CommandState.RUNNING


def test_a_trainer_of_an_earlier_version_that_starts_the_run_is_noticed(
    report: Report, store: Store, eventually: Eventually
) -> None:
    report()
    eventually(lambda: (run := store.runs.get(RUN)) and run.state is RunState.RUNNING, what="the first report")
    with store.transaction() as connection:
        connection.execute(sa.update(runs).values(started_at=time.time(), last_writing="of no chain"))
    eventually(lambda: events(store, "second trainer"), what="the older one's silence")

    (said,) = events(store, "second trainer")
    assert "(of an earlier version)" in said["reason"]
    assert list(alerts(store)) == ["second_trainer"]


def test_who_started_while_the_server_was_away_leaves_the_run_to_who_started_later(
    postgres: PostgresService, store_url: str, tmp_path: Path, eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("ddp.recording.recorder_thread.RETRY_SECONDS", 0.05)
    postgres.stop()
    older = Reporting(store_url, tmp_path / "a")
    postgres.start()
    younger = Reporting(store_url, tmp_path / "b").start()
    older.start()
    older.log(1)
    younger.log(2)
    with closing(Store(store_url)) as store:
        eventually(lambda: events(store, "second trainer"), what="the older one's silence")
        eventually(lambda: steps(store) == [2], what="the younger one's log point")
        older.close()
        younger.close()

        assert steps(store) == [2]
        assert len(events(store, "second trainer")) == 1
        assert (found := store.runs.ownership(RUN)) is not None
        assert found.token == younger.registration.owner.token


# Refused, though the store can be used


def test_a_writing_that_contradicts_the_store_is_put_aside_and_said_once_and_others_are_written(
    location: Path | str, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(Store(location, create=True, keep_open=True)) as store:
        store.open_run(RUN, {})
        tried: list[int] = []

        def insert_twice(store: Store) -> None:
            tried.append(1)
            row = {"run_id": RUN, "rank": 0, "time": 1.0, "stage": "data", "stage_seconds": 1.0}
            with store.transaction() as connection:
                connection.execute(sa.insert(ranks), [row, row])

        queue = StoreWriter(store, RUN)
        queue.add(lambda store: store.events.add(RUN, 1, "before", {}))
        queue.add(insert_twice)
        queue.add(insert_twice, is_log_point=True)
        queue.add(lambda store: store.series.add(RUN, [point(5)]), is_log_point=True)
        queue.add(lambda store: store.events.add(RUN, 2, "after", {}))
        queue.write()

        assert [event.kind for event in store.events.find(RUN, 0, 9)] == ["before", "after", "put aside"]
        assert "unique" in events(store, "put aside")[0]["reason"].lower()
        assert steps(store) == [5]
        assert len(tried) == 6
        assert (len(queue), queue.dropped) == (0, 1)
        assert caplog.text.count("is put aside") == 1


def test_an_outage_puts_nothing_aside(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "leitstand.db", create=True, keep_open=True)) as store:
        store.open_run(RUN, {})
        obstacles = [StoreUnavailableError("busy")] * 9

        def hesitate(store: Store) -> None:
            store.events.add(RUN, 1, "kept", {})
            if obstacles:
                raise obstacles.pop()

        queue = StoreWriter(store, RUN)
        queue.add(hesitate)
        for _ in range(9):
            with pytest.raises(StoreUnavailableError):
                queue.write()
        queue.write()

        assert [event.kind for event in store.events.find(RUN, 0, 9)] == ["kept"]


# Whole trainings


def test_a_copy_of_a_run_that_is_continued_leaves_both_at_work_and_one_reporting(
    store_url: str, train: Callable[..., Training], tmp_path: Path, eventually: Eventually
) -> None:
    rhythm = {"MAX_STEPS": 10**6, "LOG_EVERY": 1, "VAL_STEP_EVERY": 20, "CHECKPOINT_EVERY": 10}
    environment = {"STORE_URL": store_url}
    first = train(1, root="run", environment=environment, **rhythm)
    with closing(Store(store_url)) as first.store:
        first.wait_for_step(60)
        shutil.copytree(first.root, tmp_path / "copy", symlinks=True)
        second = train(1, "--resume", root="copy", output="copy.txt", environment=environment, **rhythm)
        with closing(Store(store_url)) as second.store:
            eventually(lambda: "Resuming at step" in second.output, seconds=60, what="the copy's start")
            eventually(lambda: "reports as this run" in first.output, seconds=60, what="the first one's word")
            assert len(first.events("second trainer")) == 1
            before = set(first.root.glob("Statistik_*.json"))
            reached = second.run().step  # type: ignore[union-attr]
            second.wait_for_step(reached + 50)
            eventually(lambda: set(first.root.glob("Statistik_*.json")) > before, what="a record of the first")
            (validated,) = second.ask(Kind.VALIDATE)
            assert validated.state is CommandState.DONE
            assert (second.root / f"Statistik_{validated.step}.json").exists()
            run = second.run()
            assert run is not None
            assert dict(run.facts or {})["store_outages"] == 0
            run_row = AlertLog(second.store, run.id).current(run, None, time.time())
            assert list(run_row.firing) == ["second_trainer"]
            first.process.send_signal(signal.SIGTERM)
            first.end()
            assert first.output.count("reports as this run") == 1
            assert "cannot be reached" not in first.output + second.output
            assert len(second.events("second trainer gone")) == 1
            second.ask(Kind.STOP)
            assert second.end() == 0
            run = second.run()
            assert run is not None
            assert run.state is RunState.STOPPED


RARE = 10**6


def claim_under(trainer: Training, *, fresh: bool = False) -> Claim:
    """Remove the lock of a trainer and take the run directory, before the trainer can lock it again."""
    while True:
        (trainer.root / ".lock").unlink()
        with suppress(RunDirectoryError):
            return claim(RunDirectory(trainer.root), resume=True, fresh=fresh)


def test_a_lock_that_is_removed_is_locked_again_and_keeps_a_second_trainer_out(
    train: Callable[..., Training], eventually: Eventually
) -> None:
    first = train(1, MAX_STEPS=RARE, VAL_STEP_EVERY=RARE)
    first.wait_for_step(5)
    (first.root / ".lock").unlink()
    eventually((first.root / ".lock").exists, what="the lock")

    second = train(1, "--resume", output="second.txt", MAX_STEPS=RARE)
    assert second.end() != 0

    assert "Another trainer is working in" in second.output
    first.ask(Kind.STOP)
    assert first.end() == 0
    assert first.output.count("it is locked again") == 1
    assert len(first.events("lock removed")) == 1


def test_two_trainers_in_one_directory_replace_no_record_of_each_other(
    train: Callable[..., Training], eventually: Eventually
) -> None:
    rhythm = {"VAL_STEP_EVERY": 20, "CHECKPOINT_EVERY": 10, "LOG_EVERY": 5}
    first = train(1, MAX_STEPS=RARE, **rhythm)
    first.wait_for_step(45)
    claimed = claim_under(first)
    eventually(lambda: "since .lock was removed there" in first.output, what="the first one's word")
    claimed.lock.close()
    second = train(1, "--resume", output="second.txt", MAX_STEPS=RARE, **rhythm)
    eventually(lambda: "reports as this run" in first.output, seconds=60, what="the first one's silence")
    other = first.root / "archive" / f"{claimed.identity.run_id}-other-trainer"
    known = set(other.glob("Statistik_*.json"))
    eventually(lambda: set(other.glob("Statistik_*.json")) > known, what="a record of the first")
    (validated,) = second.ask(Kind.VALIDATE)
    assert validated.state is CommandState.DONE
    run = second.run()
    assert run is not None
    log = AlertLog(second.store, run.id)
    assert list(log.current(run, None, time.time()).firing) == ["second_trainer"]
    first.process.send_signal(signal.SIGTERM)
    first.end()
    second.ask(Kind.STOP)
    assert second.end() == 0

    assert first.output.count("since .lock was removed there") == first.output.count("reports as this run") == 1
    assert records_in(other)
    assert [path.name for path in (other / "checkpoints").glob("step_*")]
    assert "could not be written" not in first.output + second.output
    stored = {row.step: row.sha256 for row in second.store.records.find(run.id, limit=10_000)}
    assert stored == {step: sha256_of(path) for step, path in list_records(second.root)}


def records_in(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for _, path in list_records(folder)]
