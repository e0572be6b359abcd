"""Rank 0's recorder thread, with a real store and real files: what waits, what is retried, what is never lost."""

import json
import shutil
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from ddp.control.command_poller import CommandPoller
from ddp.control.command_queue import CommandQueue
from ddp.recording.recorder import Recorder
from ddp.validation.record_values import NOT_YET_VALIDATED
from ddp.watchdog.stages import Stage
from ddp.watchdog.stall_detection import Stall
from service.commands import CommandState, Kind
from service.run.directory import RunDirectory
from service.run.record import KEYS
from service.run.state import RunState
from service.run.trainer_stats import TrainerStats
from service.store.store import SeriesRow, Store

RUN = "run0"
Eventually = Callable[..., None]


class Bench:
    """A recorder at work on a run directory, and a second connection that looks at what it wrote."""

    def __init__(self, root: Path) -> None:
        self.directory = RunDirectory(root)
        self.command_queue = CommandQueue()
        self.store = Store(self.directory.store, create=True)
        self.store.open_run(RUN, {})
        writing = Store(self.directory.store, keep_open=True, busy_seconds=0.1)
        self.commands = CommandPoller(writing, RUN, self.command_queue)
        self.other_stats: TrainerStats = {"disk_free_bytes": 5}
        self.recorder = Recorder(writing, self.directory, RUN, self.commands, other_stats=lambda: self.other_stats)
        self.recorder.start()

    def facts(self) -> dict[str, Any]:
        run = self.store.runs.latest()
        return dict((run and run.facts) or {})

    def submit(self, kind: Kind) -> str:
        return self.store.commands.submit(RUN, kind, {}, actor="me", source="api").id

    def state_of(self, command_id: str) -> CommandState:
        command = self.store.commands.get(command_id)
        assert command is not None
        return command.state


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    made = Bench(tmp_path)
    yield made
    if any(thread.name == "recorder" for thread in threading.enumerate()):
        made.recorder.close(RunState.STOPPED)


def record(step: int) -> dict[str, Any]:
    return {**dict.fromkeys(KEYS), **NOT_YET_VALIDATED, "step_current": step}


def test_a_command_reaches_the_inbox_begun_and_never_twice(bench: Bench, eventually: Eventually) -> None:
    first, second = bench.submit(Kind.VALIDATE), bench.submit(Kind.PAUSE)
    taken: list[str] = []
    eventually(
        lambda: taken.extend(item.id for item in bench.command_queue.take(1)) or len(taken) == 2, what="both commands"
    )

    assert taken == [first, second]
    assert bench.state_of(first) is CommandState.RUNNING
    bench.submit(Kind.STOP)
    bench.command_queue.wait(5, 1)
    assert [item.kind for item in bench.command_queue.take_all()] == [Kind.STOP]


def test_a_cancelled_command_never_begins(bench: Bench, eventually: Eventually) -> None:
    bench.recorder.close(RunState.STOPPED)
    cancelled = bench.submit(Kind.STOP)
    bench.store.commands.finish(cancelled, CommandState.CANCELLED)

    assert bench.store.commands.begin(cancelled) is False


def test_a_record_is_on_disk_before_its_command_is_done(bench: Bench, eventually: Eventually) -> None:
    command_id = bench.submit(Kind.VALIDATE)
    bench.command_queue.wait(5, 1)
    (command,) = bench.command_queue.take(1)
    picture = torch.zeros(3, 12, 36, dtype=torch.uint8)
    bench.recorder.record(record(7), {"quality_ki_value": 0.5}, [("val_0.png", picture)], [(command, {"ranks": []})])
    eventually(lambda: bench.state_of(command_id).is_final, what="the command's end")

    done = bench.store.commands.get(command_id)
    assert done is not None
    assert (done.state, done.step, done.result) == (
        CommandState.DONE, 7, {"ranks": [], "record": "Statistik_7.json"},
    )  # fmt: skip
    assert json.loads((bench.directory.root / "Statistik_7.json").read_text())["step_current"] == 7
    assert (bench.directory.previews / "step_7" / "val_0.webp").stat().st_size > 0
    eventually(lambda: bench.store.records.count(RUN), what="the copy in the store")


def test_a_record_that_cannot_be_written_fails_its_command_is_said_once_and_is_written_later(
    bench: Bench, eventually: Eventually, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ddp.recording.record_writer.RETRY_SECONDS", 0.05)
    obstacle = bench.directory.root / "Statistik_7.json"
    obstacle.mkdir()  # a folder of that name, which cannot be moved aside
    bench.directory.archive_folder.touch()
    command_id = bench.submit(Kind.VALIDATE)
    bench.command_queue.wait(5, 1)
    bench.recorder.record(record(7), {}, [], [(command, {}) for command in bench.command_queue.take(1)])
    eventually(lambda: bench.state_of(command_id) is CommandState.FAILED, what="the command's failure")
    obstacle.rmdir()
    eventually(obstacle.is_file, what="the record's file")

    failed = bench.store.commands.get(command_id)
    assert failed is not None
    assert "kept and tried again" in str(failed.reason)
    assert caplog.text.count("⚠️  Failed to save statistics JSON: ") == 1


def test_a_locked_store_delays_writing_but_loses_nothing(
    bench: Bench, eventually: Eventually, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ddp.recording.recorder_thread.RETRY_SECONDS", 0.05)
    locker = sqlite3.connect(bench.directory.store, isolation_level=None)
    locker.execute("BEGIN EXCLUSIVE")
    for step in range(1, 51):
        bench.recorder.log_point(step, {"total_loss_value": 1.0 / step}, record(step))
    eventually(lambda: "The store cannot be reached" in caplog.text, what="the warning")
    locker.execute("ROLLBACK")
    locker.close()
    eventually(lambda: len(bench.store.series.find(RUN)) == 50, what="the log points")

    assert caplog.text.count("The store cannot be reached") == 1
    assert [row.step for row in bench.store.series.find(RUN)] == list(range(1, 51))


def test_log_points_beyond_the_bound_are_dropped_and_counted_but_never_an_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ddp.recording.store_writer.MAX_LOG_POINTS", 10)
    directory = RunDirectory(tmp_path)
    store = Store(directory.store, create=True)
    store.open_run(RUN, {})
    writing = Store(directory.store, keep_open=True)
    recorder = Recorder(writing, directory, RUN, CommandPoller(writing, RUN, CommandQueue()))  # not yet started
    for step in range(25):
        recorder.log_point(step, {}, record(step))
        recorder.event("something", {})
    recorder.start()
    recorder.close(RunState.FINISHED)

    run = store.runs.latest()
    assert run is not None
    assert run.facts is not None
    assert run.facts["log_points_dropped"] == 15
    assert len(store.series.find(RUN)) == 10
    assert len(store.events.find(RUN, 0, 100)) == 25


def test_the_end_rejects_what_still_waits_and_leaves_the_final_state(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    command_id = bench.submit(Kind.VALIDATE)
    bench.command_queue.wait(5, 1)
    bench.recorder.mark_step(12)
    monkeypatch.setattr(bench.commands, "poll", lambda _step: None)  # as if the end came between two looks
    queued_id = bench.submit(Kind.STOP)
    bench.recorder.close(RunState.FINISHED, "all done")

    run = bench.store.runs.latest()
    assert run is not None
    assert (run.state, run.reason, run.step) == (RunState.FINISHED, "all done", 12)
    assert bench.state_of(command_id) is CommandState.REJECTED
    assert bench.state_of(queued_id) is CommandState.REJECTED


def test_a_vanished_run_directory_ends_nothing(
    bench: Bench, eventually: Eventually, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ddp.recording.recorder.LAST_CHANCE_SECONDS", 0.1)
    shutil.rmtree(bench.directory.root)
    bench.recorder.record(record(1), {}, [], [])
    eventually(lambda: "Failed to save statistics JSON" in caplog.text, what="the warning")

    bench.recorder.close(RunState.STOPPED)
    assert "Statistik_1.json could not be written (No such file or directory); the last checkpoint" in caplog.text


def test_what_cannot_be_stored_is_dropped_and_named_and_what_follows_is_written(
    bench: Bench, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    bench.recorder.event("before", {})
    bench.recorder.event("bad", {"a set": {1, 2}})
    bench.recorder.event("after", {})
    eventually(lambda: len(bench.store.events.find(RUN, 0, 100)) == 2, what="both good events")

    assert [event.kind for event in bench.store.events.find(RUN, 0, 100)] == ["before", "after"]
    assert "A change of state or event cannot be stored and is left out, which is a defect" in caplog.text


def test_the_end_says_what_a_store_that_stays_away_has_lost_and_what_to_do(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ddp.recording.recorder.LAST_CHANCE_SECONDS", 0.1)
    bench.recorder.event("before", {})
    with closing(sqlite3.connect(bench.directory.store, isolation_level=None)) as locker:
        locker.execute("BEGIN EXCLUSIVE")
        for step in (1, 2):
            bench.recorder.log_point(step, {"grad_norm": 1.0}, record(step))
        bench.recorder.close(RunState.FINISHED, "all done")

    (said,) = (entry.getMessage() for entry in caplog.records if "stayed out of reach" in entry.getMessage())
    assert "2 log points of the curves and " in said
    assert f"records are in their files in {bench.directory.root}, and the next start copies them" in said
    assert said.endswith("make it reachable, then resume.")


def test_the_heartbeat_tells_what_the_parts_know(
    bench: Bench, eventually: Eventually, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ddp.recording.recorder_thread.RETRY_SECONDS", 0.05)
    obstacle = bench.directory.root / "Statistik_7.json"
    obstacle.mkdir()
    bench.directory.archive_folder.touch()  # so that it cannot be moved aside
    locker = sqlite3.connect(bench.directory.store, isolation_level=None)
    locker.execute("BEGIN EXCLUSIVE")
    bench.recorder.event("something", {})
    bench.recorder.record(record(7), {}, [], [])
    bench.recorder.record_stall(Stall(1, Stage.DATA, 61.0, "Rank 1 hangs.", "Rank 1"))
    eventually(lambda: "The store cannot be reached" in caplog.text, what="the outage")
    locker.execute("ROLLBACK")
    locker.close()
    eventually(lambda: bench.facts().get("store_outages") == 1, what="a heartbeat after the outage")

    assert bench.facts() == {
        "log_points_dropped": 0, "unsaved_records": 1, "waiting_writings": 0, "store_outages": 1, "stalls": 1,
        "viewer_events_dropped": 0, "disk_free_bytes": 5,
    }  # fmt: skip
    obstacle.rmdir()  # the end would wait for it


def test_the_last_heartbeat_tells_the_last_checkpoint_though_nothing_else_waits_to_be_written(
    bench: Bench, eventually: Eventually
) -> None:
    eventually(lambda: "disk_free_bytes" in bench.facts(), what="a first heartbeat")

    bench.other_stats = {"checkpoint_step": 12}
    bench.recorder.close_for_restart()

    assert bench.facts().get("checkpoint_step") == 12


def test_nothing_is_lost_or_doubled_while_several_threads_tell_at_once(bench: Bench, eventually: Eventually) -> None:
    def tell(teller: int) -> None:
        for number in range(300):
            bench.recorder.event("told", {"teller": teller, "number": number})

    with ThreadPoolExecutor(3) as pool:
        told = [pool.submit(tell, teller) for teller in range(3)]
        for step in range(1, 301):
            bench.recorder.log_point(step, {"total_loss_value": 1.0}, record(step))
        for done in told:
            done.result(60)
    eventually(lambda: len(bench.store.events.find(RUN, 0, 1000)) == 900, what="all events")
    eventually(lambda: len(bench.store.series.find(RUN)) == 300, what="all log points")

    found = [event.details for event in bench.store.events.find(RUN, 0, 1000)]
    for teller in range(3):
        assert [it["number"] for it in found if it["teller"] == teller] == list(range(300))


def test_before_a_restart_a_command_that_no_boundary_has_taken_is_queued_again(
    bench: Bench, eventually: Eventually
) -> None:
    waiting, finished = bench.submit(Kind.VALIDATE), bench.submit(Kind.PAUSE)
    eventually(lambda: bench.state_of(finished) is CommandState.RUNNING, what="the beginning of both")
    (taken,) = [command for command in bench.command_queue.take_all() if command.id == finished]
    bench.command_queue.put(bench.store.commands.find(RUN)[0])
    bench.recorder.finish(taken, CommandState.DONE)

    bench.recorder.close_for_restart()

    assert (bench.state_of(waiting), bench.state_of(finished)) == (CommandState.QUEUED, CommandState.DONE)
    command = bench.store.commands.get(waiting)
    assert command is not None
    assert command.started_at is None


def test_of_log_points_that_another_rank_has_kept_only_those_are_written_that_are_missing(bench: Bench) -> None:
    bench.store.series.add(RUN, [SeriesRow(10, 1.0, {"total_loss_value": 1.0})])

    bench.recorder.adopt_records(
        [], [(10, 2.0, {"total_loss_value": 9.0, "quality": 3.0}), (20, 3.0, {"quality": 4.0})]
    )
    bench.recorder.close_for_restart()

    values = {row.step: row.values for row in bench.store.series.find(RUN)}
    assert values == {10: {"total_loss_value": 1.0, "quality": 3.0}, 20: {"quality": 4.0}}
    assert not bench.store.series.repair_rollups(RUN), "the rollups are right"
