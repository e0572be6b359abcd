"""Real ranks end while the folder of checkpoints has no room: what the run, the exit code and the alerts say."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api.app import create_app
from service.commands import CommandState, Kind
from service.config.settings import RunConfig
from service.errors import LAST_STATE_UNSAVED
from service.run.state import RunState
from tests.ddp.harness.full_folder import FullFolder, full_folder
from tests.ddp.harness.launching import Launch, settings
from tests.ddp.harness.training import Eventually, Training

Train = Callable[..., Training]
ENDLESS = {"MAX_STEPS": 10**6, "VAL_STEP_EVERY": 10**6, "CHECKPOINT_EVERY": 10**6}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[FullFolder]:
    """The folder of checkpoints, without room."""
    with full_folder(tmp_path / "run" / "checkpoints") as folder:
        yield folder


@pytest.fixture
def train(launch: Launch, tmp_path: Path, tiny_dataset: Path, eventually: Eventually, disk: FullFolder) -> Train:
    """Start two ranks under `leitstand train`'s launcher, which would restart them twice."""

    def start(*, output: str = "output.txt", **values: object) -> Training:
        chosen = {"DATASET_ROOT": tiny_dataset, "DATA_ROOT": disk.path.parent, "LAST_SAVE_SECONDS": 0, **values}
        options = ["--standalone", "--nproc-per-node=2", "--max-restarts=2"]
        launcher = [sys.executable, "-m", "service.launcher.torchrun", *options]
        process = launch([*launcher, "-m", "ddp", "--resume", *settings(**chosen)], output=output)
        return Training(process, Path(str(chosen["DATA_ROOT"])), tmp_path / output, eventually)

    return start


def reason_of(run: Training) -> str:
    row = run.run()
    assert row is not None
    assert row.state is RunState.FAILED, run.output
    return str(row.reason)


def test_an_end_without_its_last_state_is_no_good_end(train: Train) -> None:
    run = train(MAX_STEPS=12)

    assert run.end() == LAST_STATE_UNSAVED, run.output
    reason = reason_of(run)
    assert reason.startswith(
        "finished at step 12, but the last state is not on disk: step_0000012 could not be written"
    )
    assert "there is none on disk" in reason
    assert reason in run.output
    assert "Training is finished" not in run.output
    assert "step_0000005 could not be written" in run.output
    assert "there is none on disk, and training goes on" in run.output
    assert len(run.events("started")) == 1  # a restart would end in the same way
    client = create_app(RunConfig(data_root=run.root)).test_client()
    assert client.get("/state").get_json()["run_reason"] == reason
    alerts = {alert["name"]: alert["sentence"] for alert in client.get("/alerts").get_json()["alerts"]}
    assert reason in alerts["failed"]


def test_the_end_waits_for_room_and_saves_as_soon_as_there_is_some(
    train: Train, disk: FullFolder, eventually: Eventually
) -> None:
    run = train(MAX_STEPS=12, CHECKPOINT_EVERY=100, SAVE_BEST="false", LAST_SAVE_SECONDS=60)
    eventually(lambda: run.output.count("step_0000012 could not be written"), seconds=60, what="the first attempt")
    disk.make_room()

    assert run.end() == 0, run.output
    row = run.run()
    assert row is not None
    assert (row.state, row.reason) == (RunState.FINISHED, None)
    assert (disk.path / "latest" / "manifest.json").exists()
    assert [event["step"] for event in run.events("checkpoint failed")] == [12]  # once, however often it was tried
    assert run.output.count("could not be written") == 1


def test_a_stop_without_a_saved_state_fails_and_says_so(train: Train) -> None:
    run = train(**ENDLESS)
    run.wait_for_step(3)
    (stop,) = run.ask(Kind.STOP)

    assert run.end() == LAST_STATE_UNSAVED, run.output
    reason = reason_of(run)
    assert reason.startswith(f"stopped at step {stop.step}, but the last state is not on disk")
    assert (stop.state, stop.reason) == (CommandState.FAILED, reason)


@pytest.mark.parametrize("receiver", ["launcher", "rank"])
def test_143_is_not_said_where_no_state_was_saved(train: Train, receiver: str) -> None:
    run = train(**ENDLESS)
    run.wait_for_step(3)
    os.kill(run.process.pid if receiver == "launcher" else run.ranks()[1].pid, signal.SIGTERM)

    assert run.end() == LAST_STATE_UNSAVED, run.output
    assert reason_of(run).startswith("stopped at step")
    assert len(run.events("started")) == 1


def test_a_file_in_the_place_of_the_checkpoints_is_named_and_what_to_do_with_it(train: Train, tmp_path: Path) -> None:
    in_the_way = tmp_path / "other run" / "checkpoints"
    run = train(**{**ENDLESS, "SAVE_BEST": "false", "DATA_ROOT": in_the_way.parent})
    run.wait_for_step(3)
    in_the_way.touch()
    run.ask(Kind.STOP)

    assert run.end() == LAST_STATE_UNSAVED, run.output
    assert f"could not be written ({in_the_way} is no folder: move away what is in its place)" in reason_of(run)
    assert "make room" not in reason_of(run)
