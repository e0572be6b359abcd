"""When a rank leaves its state, and when it does not. Real ranks are in tests/ddp/behaviour/test_survivors.py."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from ddp.checkpoint.survivor_states import SurvivorStates
from ddp.distributed.environment import RankEnvironment
from ddp.distributed.world import CollectiveTimeoutError, World
from ddp.recording.null_recorder import NullRecorder
from ddp.step.progress import Progress
from ddp.step.resume_point import ResumePoint
from ddp.training.recovery.survivor import KEY, Survivor, survivor_states
from ddp.training.run_status import RunStatus
from service.config.live_settings import LiveSettings
from service.config.settings import RunConfig
from service.errors import UserError

PEER_LOSS = RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:50060")


class Bench:
    def __init__(self, folder: Path, restarts_left: int = 1) -> None:
        environment = RankEnvironment(rank=1, world_size=2, restarts_left=restarts_left)
        self.world = World(environment, torch.device("cpu"))
        self.states, self.point, self.discarded = SurvivorStates(folder, 0), ResumePoint(), 0
        status = RunStatus(Progress(step=12), LiveSettings(RunConfig(), {}))
        checkpointer = SimpleNamespace(
            state=lambda generators, extra: {"world_size": 2, "generators": generators, "extra": extra}
        )
        recorder = NullRecorder()
        recorder.record({"step_current": 10}, {"quality": 1.0}, [], [])
        self.survivor = Survivor(
            self.world, self.states, cast(Any, checkpointer), status, recorder, cast(Any, self), self.point
        )

    def discard_step(self) -> None:
        self.discarded += 1

    def left(self) -> dict[str, Any] | None:
        found = self.states.newest(2, 0)
        return None if found is None else found.state


@pytest.mark.parametrize(
    "error", [PEER_LOSS, CollectiveTimeoutError("rank 0 was not heard from")], ids=["ended", "hangs"]
)
def test_a_rank_that_misses_another_leaves_its_state_with_all_that_the_next_start_needs(
    tmp_path: Path, error: Exception
) -> None:
    bench = Bench(tmp_path / "left")
    bench.point.end_step()

    bench.survivor.leave_state(error)

    left = bench.left()
    assert left is not None
    assert (left["generators"], bench.discarded) == ([], 1)
    assert left["extra"]["records"] == [{"step_current": 10}]
    told = left["extra"][KEY]
    assert (told["rank"], told["is_due"], told["is_reviewed"]) == (1, True, False)
    assert [(step, values) for step, _, values in told["points"]] == [(10, {"quality": 1.0})]


def test_a_state_between_two_steps_is_not_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(tmp_path / "left")
    bench.point.begin_change()

    bench.survivor.leave_state(PEER_LOSS)

    assert bench.left() is None
    assert "Rank 1 leaves no state: it was changing it when another rank ended." in caplog.text


def test_nothing_is_left_after_an_error_of_its_own_or_when_no_start_follows(tmp_path: Path) -> None:
    for number, (error, restarts_left) in enumerate([(UserError("wrong"), 1), (ValueError("x"), 1), (PEER_LOSS, 0)]):
        bench = Bench(tmp_path / str(number), restarts_left)

        bench.survivor.leave_state(error)

        assert bench.left() is None


def test_shared_memory_that_cannot_be_used_is_said_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "left").touch()

    Bench(tmp_path / "left").survivor.leave_state(PEER_LOSS)

    assert "Rank 1 could not leave its state of step 12: " in caplog.text


@pytest.mark.parametrize(
    ("local_size", "size", "device"),
    [
        pytest.param(2, 4, "cpu", id="several machines"),
        pytest.param(1, 1, "cpu", id="one rank"),
        pytest.param(0, 2, "cpu", id="a launcher that does not say"),
        pytest.param(2, 2, "cuda", id="GPUs"),
    ],
)
def test_there_is_no_place_for_states_where_none_can_be_left(local_size: int, size: int, device: str) -> None:
    environment = RankEnvironment(world_size=size, local_size=local_size, is_launched=True)

    assert survivor_states(environment, World(environment, torch.device(device)), "run") is None


def test_states_of_ranks_on_one_machine_have_a_place() -> None:
    environment = RankEnvironment(rank=1, world_size=2, local_size=2, is_launched=True)

    with_place = survivor_states(environment, World(environment, torch.device("cpu")), "run")
    assert with_place is not None
