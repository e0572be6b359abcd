"""Trackers of TRACKERS: a training tells their real libraries, where installed, and broken ones hold nothing up."""

import logging
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from ddp.recording.trackers import library_tracker
from ddp.recording.trackers.library_tracker import LibraryTracker
from service.commands import CommandState, Kind
from service.config.settings import TRACKERS
from service.run.records.trackers.tracked_run import TrackedRun
from tests.ddp.harness.training import Training
from tests.service.harness.pushed_records import a_full_record
from tests.service.harness.read_back import read_runs
from tests.service.harness.trackers_table import table_of

Eventually = Callable[..., None]
Train = Callable[..., Training]

INSTALLED = [name for name in TRACKERS if find_spec(name) is not None]
RUN = TrackedRun("r1", 0, "demo", "", {}, facts={}, rollbacks=(), from_step=0)
PATIENCE_SECONDS = 600
"""For libraries that are imported on a machine with other things to do."""


def places(folder: Path) -> dict[str, str]:
    """Variables of the libraries by which each keeps everything in a folder of its own."""
    variables = {"wandb": "WANDB_DIR", "trackio": "TRACKIO_DIR", "aim": "__AIM_REPO_NAME__"}
    for name in variables:
        (folder / name).mkdir(parents=True)
    return {
        **{variable: str(folder / name) for name, variable in variables.items()},
        "__AIM_REPO_NAME__": str(folder / "aim" / ".aim"),
        "MLFLOW_TRACKING_URI": (folder / "mlflow").as_uri(),
        "MLFLOW_ALLOW_FILE_STORE": "true",
    }


@pytest.mark.skipif(not INSTALLED, reason="no tracker's library is installed")
def test_each_library_has_a_training_that_is_resumed_and_rolled_back(
    train: Train, tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    told = tmp_path / "told"
    chosen: dict[str, Any] = {"environment": places(told), "TRACKERS": ",".join(INSTALLED)}
    chosen["TRACKER_END_SECONDS"] = PATIENCE_SECONDS
    first = train(2, MAX_STEPS=7, **chosen)
    assert first.end(PATIENCE_SECONDS) == 0, first.output
    resumed = train(2, "--resume", output="second.txt", MAX_STEPS=10**6, CHECKPOINT_EVERY=1000, SAVE_BEST=False,
                    **chosen)  # fmt: skip
    resumed.wait_for_step(14)
    back = resumed.ended(resumed.submit(Kind.ROLLBACK, {"checkpoint": "5"}))
    assert back.state is CommandState.DONE, back
    resumed.wait_for_step(6)
    assert resumed.ended(resumed.submit(Kind.STOP)).state is CommandState.DONE
    assert resumed.end(PATIENCE_SECONDS) == 0, resumed.output

    run = resumed.run()
    assert run is not None
    assert run.facts is not None
    assert run.facts["viewer_events_dropped"] == 0, resumed.output
    left = f"from step {max(step for step in recorded(resumed) if step > 9)}"
    table = table_of((repository / "docs" / "records.md").read_text(), "of a training")
    for name in INSTALLED:
        check(name, told / name, resumed, left, {row: cells[name] for row, cells in table.items()})


def recorded(training: Training) -> set[int]:
    """Steps of log points and validations, of both branches, that the store and the archive have."""
    (event,) = training.events("rollback")
    return {int(event["details"]["from_step"]) // 2 * 2, int(event["details"]["from_step"]) // 5 * 5}


def check(name: str, folder: Path, training: Training, left: str, kept: dict[str, str]) -> None:
    """A tracker has what the table of docs/records.md says: a run of two starts is one where it can go on."""
    runs = read_runs(name, folder)
    assert (kept["log points and validations"], kept["a rollback"]) == ("kept", "a run of its own")
    goes_on = kept["a later start"] == "same run"
    first, branch = ("run",) if goes_on else ("run", "run, from step 7"), "run, branch 1"
    assert set(runs) == {*first, branch if goes_on else f"{branch}, from step 5"}, name
    steps = sorted({step for one in first for step in runs[one].numbers})
    assert steps[:9] == [2, 4, 5, 6, 7, 8, 10, 12, 14], name
    assert sorted(runs[first[0]].numbers)[:5] == [2, 4, 5, 6, 7], name
    second = runs[branch if goes_on else f"{branch}, from step 5"]
    assert sorted(second.numbers)[0] == 6, name
    for step, tag, key in ((5, "quality/ki", "quality_ki_value"), (5, "validation/psnr_ki_db", "psnr_ki_db")):
        assert runs["run"].numbers[step][tag] == training.record(step)[key], name
    assert {"loss/l1", "train/learning_rate", "rank/1/own_seconds"} <= set(runs["run"].numbers[2]), name
    assert f"{left} to step 5" in second.text, name
    assert "N_FEATS" in second.text, name
    ended = "KILLED" in second.text or "'state': 'stopped'" in second.text
    assert ended == (kept["how it ended"] == "kept"), name
    assert training.run().id in second.text or name == "trackio"  # type: ignore[union-attr]


def test_a_start_that_repeats_steps_is_a_run_of_its_own_and_one_that_goes_on_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    for variable, place in places(tmp_path).items():
        monkeypatch.setenv(variable, place)
    for start, steps in ((0, range(1, 4)), (3, range(4, 6)), (2, range(3, 5))):
        tracker = LibraryTracker("mlflow", "leitstand", RUN, PATIENCE_SECONDS)
        tracker.start(start)
        tell(tracker, steps)
        tracker.close()
        assert tracker.dropped == 0

    runs = read_runs("mlflow", tmp_path / "mlflow")
    assert {name: sorted(run.numbers) for name, run in runs.items()} == {
        "demo": [1, 2, 3, 4, 5], "demo, from step 2": [3, 4]
    }  # fmt: skip
    assert "leitstand.continued_by" in runs["demo"].text


# Broken libraries

FAKES = {
    "hangs": "import time\n\ntime.sleep(10**6)\n",
    "full": "class MlflowException(Exception):\n    pass\n\n\ndef MlflowClient(**_):\n"
            "    raise OSError(28, 'No space left on device')\n",
    "crashes": "import os\n\nos._exit(9)\n",
    "missing": "raise ImportError\n",
}  # fmt: skip


def fake(folder: Path, kind: str, name: str = "mlflow") -> Path:
    """A folder with a library that is broken."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(FAKES[kind])
    return folder


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., LibraryTracker]:
    """Make a tracker of a broken MLflow; the end waits for `end_seconds`."""

    def make(kind: str, end_seconds: float = 0.2) -> LibraryTracker:
        monkeypatch.setenv("PYTHONPATH", str(fake(tmp_path / "fake", kind)))
        return LibraryTracker("mlflow", "leitstand", RUN, end_seconds)

    return make


def tell(tracker: LibraryTracker, steps: range) -> None:
    for step in steps:
        tracker.log_point(step, 1e9 + step, a_full_record(step))


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_library_that_hangs_fills_a_bounded_queue_and_is_killed_at_the_end(
    tracker: Callable[..., LibraryTracker],
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(library_tracker, "MAX_WAITING", 50)
    monkeypatch.setattr(library_tracker, "MARGIN_SECONDS", 0.2)
    hanging = tracker("hangs")
    hanging.start(0)
    count = 0

    def is_full() -> bool:
        nonlocal count
        tell(hanging, range(count, count + 20))
        count += 20
        return hanging.dropped > 0

    eventually(is_full, what="a queue that is full")
    hanging.close()

    assert hanging.dropped == count
    *full, lost = said(caplog)
    assert set(full) == {"MLflow takes nothing: log points for it are dropped; training goes on."}
    assert "log points and validations for MLflow are lost: it did not take them. `leitstand stats push` gives" in lost


def test_a_library_that_is_missing_is_said_once_and_its_process_is_not_started_again(
    tracker: Callable[..., LibraryTracker], eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    missing = tracker("missing", 60)
    missing.start(0)
    tell(missing, range(3))

    def is_given_up() -> bool:
        tell(missing, range(1))
        return missing.dropped > 3

    eventually(is_given_up, what="the end of its process")
    missing.close()

    assert said(caplog) == [
        "MLflow is reached by its own library; install it with `pip install mlflow`. Training goes on without it."
    ]


def test_a_library_that_crashes_is_started_again_later_and_loses_what_it_had(
    tracker: Callable[..., LibraryTracker],
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(library_tracker, "RESTART_SECONDS", 0.1)
    crashing = tracker("crashes", 60)
    crashing.start(0)

    def has_crashed_twice() -> bool:
        tell(crashing, range(1))
        return len(said(caplog)) > 1

    eventually(has_crashed_twice, what="two crashes")
    crashing.close()

    assert said(caplog)[0].startswith("The process for MLflow has ended (exit code 9); training goes on, and it is st")
    assert crashing.dropped > 0


def test_a_full_disk_is_said_once_and_tried_again(
    tracker: Callable[..., LibraryTracker],
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
) -> None:
    full = tracker("full")
    full.start(0)
    tell(full, range(3))
    eventually(lambda: said(caplog), what="the warning")
    full.close()

    first, lost = said(caplog)
    assert first.startswith("MLflow does not take what it is told (OSError: No space left on device); training goes on")
    assert lost.startswith("3 log points and validations for MLflow are lost")
    assert full.dropped == 3


def test_no_broken_library_stops_a_training_or_changes_its_result(train: Train, tmp_path: Path) -> None:
    broken = fake(tmp_path / "fake", "hangs")
    fake(broken, "missing", "wandb")
    fake(broken, "crashes", "trackio")
    alone = train(2, root="alone", output="alone.txt", MAX_STEPS=7)
    assert alone.end(PATIENCE_SECONDS) == 0, alone.output
    told = train(
        2, MAX_STEPS=7, TRACKERS="mlflow, wandb, trackio", TRACKER_END_SECONDS=1,
        environment={"PYTHONPATH": str(broken)},
    )  # fmt: skip

    assert told.end(PATIENCE_SECONDS) == 0, told.output
    same = ("total_loss_value", "quality_ki_value", "psnr_ki_db", "layer_activity_raw_map")
    assert [told.record(7)[key] for key in same] == [alone.record(7)[key] for key in same]
    run = told.run()
    assert run is not None
    assert run.state == "finished"
    assert "for MLflow are lost" in told.output


def test_a_name_that_is_no_tracker_is_refused_at_the_start(train: Train, tmp_path: Path) -> None:
    refused = train(1, TRACKERS="mlflow,neptune", MAX_STEPS=3)

    assert refused.end(PATIENCE_SECONDS) != 0
    assert "TRACKERS is 'mlflow,neptune', but must be names of mlflow, wandb, trackio, aim" in refused.output
    assert not (tmp_path / "run").exists()
