"""Real ranks go back: to a checkpoint, to the beginning, to checkpoints that are gone. Nothing of before is lost."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from service.commands import Kind
from service.run.directory import STORE_COMPANIONS, RunDirectory
from service.run.record import list_records
from service.run.state import RunState
from service.store.store import Store
from tests.ddp.harness.training import Eventually, Training

Train = Callable[..., Training]
GATED = {"WORKLOAD": "tests.ddp.harness.gated_workload", "PATCH_SIZE": 8}
RARE = 10**6


def contents(root: Path) -> dict[str, str]:
    """The sha256 of every file but the log, the lock, and those that SQLite makes for a reader."""
    others = {".lock", "training.log", *STORE_COMPANIONS}
    files = [path for path in root.rglob("*") if path.is_file() and path.name not in others]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def make_older(directory: RunDirectory) -> None:
    """Leave out of `run.json` what earlier versions did not write there."""
    directory.identity.write_text(json.dumps({"run_id": directory.run_id()}))


@pytest.mark.parametrize("version", ["this", "earlier"])
def test_a_run_whose_checkpoints_are_gone_is_not_begun_anew(train: Train, tmp_path: Path, version: str) -> None:
    first = train(2, MAX_STEPS=12)
    assert first.end() == 0, first.output
    directory, away = RunDirectory(first.root), tmp_path / "not mounted"
    if version == "earlier":
        make_older(directory)
    directory.checkpoints.rename(away)
    before = contents(first.root)

    for number, is_missing in enumerate((True, False)):
        if not is_missing:
            directory.checkpoints.mkdir()
        refused = train(2, "--resume", output=f"refused{number}.txt", MAX_STEPS=20)
        assert refused.end() != 0
        assert refused.output.count(f"Error: {directory.checkpoints} holds no checkpoint") == 1
        assert "the last at step 12" in refused.output
        assert "or start with --fresh" in refused.output
        assert contents(first.root) == before

    directory.checkpoints.rmdir()
    away.rename(directory.checkpoints)
    resumed = train(2, "--resume", output="resumed.txt", MAX_STEPS=20)
    assert resumed.end() == 0, resumed.output
    assert [event["step"] for event in resumed.events("started")] == [0, 12]


def test_a_run_whose_identity_was_removed_goes_on_under_its_id_and_says_so(train: Train) -> None:
    first = train(2, MAX_STEPS=4)
    assert first.end() == 0, first.output
    run_id = RunDirectory(first.root).run_id()
    RunDirectory(first.root).identity.unlink()

    resumed = train(2, "--resume", output="resumed.txt", MAX_STEPS=6)
    assert resumed.end() == 0, resumed.output
    assert RunDirectory(first.root).run_id() == run_id
    (lost,) = resumed.events("identity lost")
    assert f"by config.json, this is run {run_id}, which goes on" in lost["details"]["reason"]


def test_a_run_that_died_before_its_first_checkpoint_begins_again_and_keeps_what_there_was(train: Train) -> None:
    run = train(  # one rank: another would leave its state
        1, launcher=["--max-restarts=1"], MAX_STEPS=20, CHECKPOINT_EVERY=RARE, SAVE_BEST="false",
        environment={"TEST_EVENTS": "kill@0:13"}, **GATED,
    )  # fmt: skip
    assert run.end() == 0, run.output

    row = run.run()
    assert row is not None
    assert (row.state, [event["step"] for event in run.events("started")]) == (RunState.FINISHED, [0, 0])
    branch = f"{row.id}-after-0"
    assert run.store.series.branches(row.id) == [branch]
    assert [point.step for point in run.store.series.find(branch)][:4] == [2, 4, 5, 6]
    assert [step for step, _ in list_records(run.root / "archive" / branch)] == [5, 10]
    assert [row.step for row in run.store.records.find(branch, limit=9)] == [5, 10]
    assert [step for step, _ in list_records(run.root)] == [5, 10, 15, 20]
    assert f"are kept in the store as {branch}" in run.output


def test_what_crashes_after_one_checkpoint_set_back_is_kept_each_time(train: Train, eventually: Eventually) -> None:
    """Each time log points, the last time a record too: the names in the store and in the archive agree."""
    saved = 0
    for number, validates in enumerate((False, False, True)):
        values = {"MAX_STEPS": RARE, "VAL_STEP_EVERY": RARE, "CHECKPOINT_EVERY": RARE, "SAVE_BEST": "false"}
        run = train(2, "--resume", output=f"{number}.txt", **values)
        eventually(lambda run=run, starts=number + 1: starts_of(run) == starts, seconds=60, what="the start")
        run.wait_for_step(saved + 4)
        if number == 0:
            (checkpoint,) = run.ask(Kind.CHECKPOINT)
            saved = checkpoint.step or 0
        if validates:
            run.ask(Kind.VALIDATE)
        run.wait_for_step(saved + 30)
        run.ranks()[1].kill()
        assert run.end() != 0
    last = train(2, "--resume", output="last.txt", MAX_STEPS=saved + 1)
    assert last.end() == 0, last.output

    row = last.run()
    assert row is not None
    branches = [f"{row.id}-after-{saved}{number}" for number in ("", "-2", "-3")]
    assert last.store.series.branches(row.id) == branches
    for branch in branches:
        first, end = last.store.series.span(branch) or (0, 0)
        assert saved < first < end
    assert [path.name for path in (last.root / "archive").iterdir()] == branches[2:]
    assert copies(last.store, branches[2]) == [step for step, _ in list_records(last.root / "archive" / branches[2])]


def starts_of(run: Training) -> int:
    return len(run.events("started")) if run.run() else 0


def copies(store: Store, run_id: str) -> list[int]:
    return [row.step for row in store.records.find(run_id, limit=9)]
