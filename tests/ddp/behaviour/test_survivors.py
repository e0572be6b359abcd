"""A rank is killed, and no step is lost: all go on after the last finished one, and the run is the one never killed.

Real gloo ranks, dropout, batch normalization, EMA, and the adaptive controller at work. No checkpoint is saved before
the end, unless the test says so: what is not lost, a surviving rank has kept.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from ddp.checkpoint.survivor_states import SurvivorStates
from service.commands import CommandState, Kind
from service.launcher.ranks.shared_states import SHARED_MEMORY, launch_id
from service.store.store import Store
from tests.ddp.harness.full_folder import full_folder
from tests.ddp.harness.launching import Launch, settings
from tests.ddp.harness.sameness import check_same, last_state
from tests.ddp.harness.training import Eventually, Training

LAST_STEP = 48
SETTINGS = {
    "WORKLOAD": "tests.ddp.harness.gated_workload", "MAX_STEPS": LAST_STEP, "EMA_DECAY": 0.9, "LOG_EVERY": 7,
    "VAL_STEP_EVERY": 16, "CHECKPOINT_EVERY": 10**6, "PATCH_SIZE": 8, "WARMUP_STEPS": 5, "MAX_LR": 0.02,
    "ADAPTIVE_WARMUP_STEPS": 4, "SETTLING_STEPS": 2, "PLATEAU_PATIENCE": 3, "PLATEAU_SAFETY_THRESHOLD": 9,
    "COOLDOWN_DURATION": 2, "ADAPT_EVERY": 4, "BOOST_STEPS": 10, "SAVE_BEST": "false", "KEEP_CHECKPOINTS": 0,
}  # fmt: skip
ENVIRONMENT = {"TEST_BATCH_NORM": "1"}
SCHEDULED = (16, 32, 48)

Train = Callable[..., Training]
Straight = Callable[[int], Path]


@pytest.fixture(scope="module")
def straight_runs() -> dict[int, Path]:
    """The runs that were never killed, by their number of ranks; each is made once, by the first test that needs it."""
    return {}


@pytest.fixture
def straight(train: Train, straight_runs: dict[int, Path], tmp_path_factory: pytest.TempPathFactory) -> Straight:
    def of(ranks: int) -> Path:
        if ranks not in straight_runs:
            root = tmp_path_factory.mktemp("straight")
            run = train(ranks, output="straight.txt", root=str(root), environment=ENVIRONMENT, **SETTINGS)
            assert run.end(180) == 0, run.output
            straight_runs[ranks] = root
        return straight_runs[ranks]

    return of


def killed(train: Train, ranks: int, events: str = "", restarts: int = 3, **values: Any) -> Training:
    environment = {**ENVIRONMENT, "TEST_EVENTS": events}
    return train(ranks, launcher=[f"--max-restarts={restarts}"], environment=environment, **{**SETTINGS, **values})


def left_behind(run: Training) -> list[str]:
    row = run.run()
    assert row is not None
    return [path.name for path in SHARED_MEMORY.glob(f"leitstand-{row.id}-*")]


def check_recovered(run: Training, straight: Path, kills: int) -> None:
    """Nothing is lost, nothing is there twice, and all is as in the run that was never killed, but for one event."""
    recovered = run.events("recovered")
    assert [event["details"]["steps_lost"] for event in recovered] == [0] * kills, run.output
    assert all(event["details"]["source"].startswith("rank ") for event in recovered)
    check_same(run.root, straight, last_state(straight, LAST_STEP), steps=SCHEDULED)
    assert log_points(run.root) == log_points(straight)
    assert not list(run.root.glob("archive/*"))
    assert left_behind(run) == []


def log_points(root: Path) -> dict[int, Any]:
    """The total loss of every log point in the store."""
    store = Store(root / "leitstand.db")
    row = store.runs.latest()
    assert row is not None
    points = {point.step: point.values.get("total_loss_value") for point in store.series.find(row.id)}
    store.close()
    return points


@pytest.mark.parametrize(
    ("ranks", "event"),
    [
        pytest.param(2, "kill@1:9", id="2 ranks, inside a block"),
        pytest.param(2, "kill@0:17", id="2 ranks, rank 0 right after a validation"),
        pytest.param(3, "kill@2:21", id="3 ranks, right after a block and a log point"),
    ],
)
def test_the_step_of_a_killed_rank_is_made_by_the_next_start(
    train: Train, straight: Straight, ranks: int, event: str
) -> None:
    run = killed(train, ranks, event)
    assert run.end(180) == 0, run.output

    step = int(event.rpartition(":")[2]) - 1
    assert [event["step"] for event in run.events("started")] == [0, step]
    check_recovered(run, straight(ranks), kills=1)


Hang = Callable[..., Training]


@pytest.fixture
def hang(train: Train, tmp_path: Path, eventually: Eventually) -> Hang:
    return partial(hanging, train, tmp_path, eventually)


def hanging(
    train: Train, tmp_path: Path, eventually: Eventually, ranks: int, *, gate: Path | None = None, **values: Any
) -> Training:
    """A training whose rank 1 hangs in step 20, while the others wait for it: 19 steps are finished."""
    release = {"TEST_RELEASE": str(tmp_path / "never"), **({} if gate is None else {"TEST_GATE": str(gate)})}
    environment = {**ENVIRONMENT, **release, "TEST_EVENTS": "hang@1:20"}
    run = train(ranks, launcher=["--max-restarts=3"], environment=environment, **{**SETTINGS, **values})
    run.wait_for_step(19)
    if values:
        eventually(lambda: run.events("checkpoint"), what="the checkpoint of step 16")
    return run


def started(run: Training) -> list[int]:
    return [event["step"] for event in run.events("started")]


def test_a_rank_that_waits_for_its_data_hears_of_the_others_end_and_leaves_its_state(
    hang: Hang, straight: Straight
) -> None:
    """Of two ranks the other one is killed: what this one does not leave before it is killed too is lost."""
    run = hang(2)
    run.ranks()[0].kill()

    assert run.end(180) == 0, run.output
    assert started(run) == [0, 19]
    assert [event["details"]["source"] for event in run.events("recovered")] == ["rank 1"]
    check_recovered(run, straight(2), kills=1)


def test_kills_during_the_recovery_lose_nothing(
    hang: Hang, straight: Straight, tmp_path: Path, eventually: Eventually
) -> None:
    """One falls on ranks that have just been started, one on ranks that have the state and wait for their data."""
    gate = tmp_path / "gate"
    gate.touch()
    run = hang(3, gate=gate)
    gate.unlink()
    first = run.ranks()
    first[1].kill()

    def successors() -> dict[int, psutil.Process]:
        return {rank: process for rank, process in run.ranks().items() if process.pid != first[rank].pid}

    eventually(lambda: 2 in successors(), seconds=60, what="a second start")
    successors()[2].kill()
    eventually(lambda: started(run)[-1] == 19, seconds=90, what="ranks that have the state")
    run.ranks()[0].kill()
    gate.touch()

    assert run.end(180) == 0, run.output
    assert set(started(run)) == {0, 19}
    check_recovered(run, straight(3), kills=1)


def test_a_kill_during_a_validation_repeats_the_validation(train: Train, straight: Straight, tmp_path: Path) -> None:
    gate = tmp_path / "validation.gate"
    environment = {**ENVIRONMENT, "TEST_VALIDATION_GATE": str(gate)}
    run = train(2, launcher=["--max-restarts=1"], environment=environment, **SETTINGS)
    run.wait_for_step(16)
    run.ranks()[0].kill()
    gate.touch()

    assert run.end(180) == 0, run.output
    assert started(run) == [0, 16]
    check_recovered(run, straight(2), kills=1)


def test_a_command_that_had_not_been_executed_is_executed_once(hang: Hang, eventually: Eventually) -> None:
    run = hang(2)
    asked = run.submit(Kind.VALIDATE)
    eventually(lambda: run.command(asked).state is CommandState.RUNNING, what="the beginning of the command")
    run.ranks()[1].kill()

    assert run.end(180) == 0, run.output
    command = run.command(asked)
    assert (command.state, (command.step or 0) >= 20) == (CommandState.DONE, True)
    states = [event["details"]["state"] for event in run.events("command")]
    assert states == ["queued", "running", "queued", "running", "done"]


def test_when_no_rank_is_left_the_newest_checkpoint_serves_and_it_is_said_how_much_is_lost(
    hang: Hang, straight: Straight
) -> None:
    run = hang(2, CHECKPOINT_EVERY=16)
    for rank in run.ranks().values():
        rank.kill()

    assert run.end(180) == 0, run.output
    check_lost(run, straight(2))
    assert "No rank has left a state after the failure that can be used: the newest checkpoint serves." in run.output


def check_lost(run: Training, straight: Path) -> None:
    """Three steps were lost, and made again with the same result."""
    assert started(run) == [0, 16]
    (recovered,) = run.events("recovered")
    assert (recovered["details"]["source"], recovered["details"]["steps_lost"]) == ("step_0000016", 3)
    assert "from the state of step_0000016, step 16; 3 steps were lost." in recovered["details"]["reason"]
    check_same(run.root, straight, last_state(straight, LAST_STEP), steps=SCHEDULED)
    assert log_points(run.root) == log_points(straight)


@contextmanager
def folder_of(run: Training) -> Iterator[Path]:
    """Where the ranks of a run will leave their states."""
    row, launcher = run.run(), run.ranks()[0].ppid()
    assert row is not None
    yield SHARED_MEMORY / f"leitstand-{row.id}-{launch_id(launcher)}"


def test_full_shared_memory_costs_the_steps_since_the_checkpoint_and_no_more(hang: Hang, straight: Straight) -> None:
    run = hang(2, CHECKPOINT_EVERY=16)
    with folder_of(run) as folder, full_folder(folder):
        run.ranks()[1].kill()
        assert run.end(180) == 0, run.output
    if folder.is_dir():
        folder.rmdir()

    check_lost(run, straight(2))
    assert "Rank 0 could not leave its state of step 19: " in run.output


def test_states_of_another_world_and_torn_ones_are_refused_by_name(hang: Hang, straight: Straight) -> None:
    run = hang(2)
    with folder_of(run) as folder:
        others = SurvivorStates(folder, 0)
        others.leave(0, 30, {"world_size": 5})
        (folder / "0-0").rename(folder / "0-4")
        others.leave(0, 40, {"world_size": 2})
        (folder / "0-0").rename(folder / "0-5")
        (folder / "0-5" / "step_0000040" / "state.pt").write_bytes(b"torn")
        run.ranks()[1].kill()

    assert run.end(180) == 0, run.output
    assert "step_0000040 that rank 5 left cannot be used: state.pt is not what its manifest says." in run.output
    assert "step_0000030 that rank 4 left cannot be used: it is of 5 ranks, this start has 2." in run.output
    check_recovered(run, straight(2), kills=1)


@pytest.mark.parametrize(
    ("event", "named_by"),
    [
        pytest.param("stop@1:20", "Rank 1", id="a frozen rank"),
        pytest.param("hang@0:20", "Rank 0", id="rank 0, blocked, which ends itself"),
        pytest.param("stop@0:20", "Rank 0", id="rank 0, frozen, whose place rank 1 takes"),
    ],
)
def test_a_rank_that_hangs_is_ended_if_that_is_set_and_costs_no_step(
    train: Train, straight: Straight, tmp_path: Path, event: str, named_by: str
) -> None:
    environment = {**ENVIRONMENT, "TEST_EVENTS": event, "TEST_RELEASE": str(tmp_path / "never")}
    values = {**SETTINGS, "STALL_SECONDS": 3, "STALL_ACTION": "restart"}
    run = train(2, launcher=["--max-restarts=2"], environment=environment, **values)
    assert run.end(180) == 0, run.output

    assert f"{named_by} is ended after a hang of " in run.output
    stacks = "".join(file.read_text() for file in run.root.glob("hangs/*.txt"))
    assert "=== rank 0: " in stacks
    assert "=== rank 1: " in stacks
    check_recovered(run, straight(2), kills=1)


def test_forked_ranks_recover_alike_and_when_the_fork_server_is_killed_as_new_processes(
    launch: Launch, straight: Straight, tmp_path: Path, tiny_dataset: Path, eventually: Eventually
) -> None:
    """Our launcher; the first kill falls on a fork, the second on it and on the server, the last start has neither."""
    values = settings(**{"DATASET_ROOT": tiny_dataset, "DATA_ROOT": tmp_path / "run", **SETTINGS})
    options = ["--standalone", "--nproc-per-node=2", "--max-restarts=2", "-m", "ddp", *values]
    gate = tmp_path / "gate"
    environment = {**ENVIRONMENT, "TORCHRUN_FORK_SERVER": "1", "TEST_EVENTS": "kill@0:20", "TEST_GATE": str(gate)}
    command = [sys.executable, "-m", "service.launcher.torchrun", *options]
    process = launch(command, environment=environment, is_forked=False)
    run = Training(process, tmp_path / "run", tmp_path / "output.txt", eventually)
    eventually(lambda: run.is_at(0), seconds=90, what="ranks that wait for their data")
    first = run.ranks()
    assert [first[rank].name() for rank in (0, 1)] == ["rank 0", "rank 1"]
    gate.touch()
    eventually(lambda: not first[0].is_running(), seconds=60, what="the first kill")
    gate.unlink()
    eventually(lambda: started(run)[-1] == 19, seconds=60, what="a second start")
    (server,) = [child for child in psutil.Process(process.pid).children() if child.pid not in pids(run)]
    server.kill()
    run.ranks()[1].kill()
    gate.touch()

    assert run.end(180) == 0, run.output
    assert "The fork server is gone; ranks are started as new processes." in run.output
    assert started(run) == [0, 19, 19]
    (event,) = run.events("recovered")
    assert event["details"]["how"] == "was ended by SIGKILL"
    check_recovered(run, straight(2), kills=1)


def pids(run: Training) -> set[int]:
    return {rank.pid for rank in run.ranks().values()}
