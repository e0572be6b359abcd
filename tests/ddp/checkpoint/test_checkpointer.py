"""A checkpoint of a training that goes on meanwhile holds, to the last bit, the state at its step."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ddp.checkpoint.async_writer import MAX_QUEUED
from ddp.checkpoint.checkpointer import Checkpointer
from ddp.checkpoint.folder import CheckpointFolder, Reason
from ddp.distributed.environment import RankEnvironment
from ddp.distributed.pending_gather import PendingGather
from ddp.distributed.rng import rng_state
from ddp.distributed.world import World
from ddp.step.copy_fence import CopyFence
from ddp.step.stepper import Stepper
from ddp.watchdog.stages import Stage, StageMarker
from tests.ddp.harness.sameness import differences
from tests.ddp.step.test_stepper import WEIGHTS, Bench, Plain

PATIENCE_SECONDS = 120


class WithBatchNorm(Plain):
    """A workload whose network changes buffers in its forward passes."""

    def build_model(self) -> nn.Module:
        model = super().build_model()
        assert isinstance(model.feat_extract, nn.Module)
        model.feat_extract = nn.Sequential(model.feat_extract, nn.BatchNorm2d(self.config.n_feats))
        return model


class Held:
    """A stepper whose state is collected for a copy, on the copier's thread, only once `may_begin` is set."""

    def __init__(self, stepper: Stepper) -> None:
        self._stepper = stepper
        self.may_begin = threading.Event()

    @property
    def fence(self) -> CopyFence:
        return self._stepper.fence

    def state(self) -> dict[str, Any]:
        return self._stepper.state()

    def restore(self, state: Any) -> None:
        self._stepper.restore(state)

    def collect_later(self) -> Callable[[], dict[str, Any]]:
        collect = self._stepper.collect_later()

        def later() -> dict[str, Any]:
            assert self.may_begin.wait(PATIENCE_SECONDS)
            return collect()

        return later


class Scene:
    """A stepper at work, and its checkpoints."""

    def __init__(self, root: Path, world: World | None = None) -> None:
        self.bench = Bench(ema_decay=0.5)
        self.world = world or self.bench.world
        self.marker = StageMarker()
        workload = WithBatchNorm(self.bench.config)
        self.stepper = Stepper(self.world, self.bench.config, workload, self.marker)
        self.held, self.folder = Held(self.stepper), CheckpointFolder(root)
        self.checkpointer = Checkpointer(
            self.world, self.folder, lambda: 0, {}, {"stepper": self.held}, {"stepper": self.held}
        )
        self.told: list[tuple[int, str | None]] = []

    def step(self) -> None:
        self.stepper.make_step(self.bench.batches, WEIGHTS, 1e-2, 1e6, self.bench.window, before_update=lambda: None)

    def save(self, step: int) -> None:
        self.checkpointer.save(
            step, Reason.SCHEDULE, is_best=False, extra={}, on_written=lambda *told: self.told.append(told)
        )

    def in_the_backward(self, act: Callable[[], None]) -> None:
        """Do something in the backward passes from now on, after the forward pass and before the update."""

        def hook(_gradient: Tensor) -> None:
            act()

        next(self.stepper.model.parameters()).register_hook(hook)


def copied(state: dict[str, Any]) -> dict[str, Any]:
    """All that a state holds now."""

    def copy(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.detach().clone()
        return {key: copy(item) for key, item in value.items()} if isinstance(value, dict) else value

    result: dict[str, Any] = copy(state)
    return result


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path / "checkpoints")
    yield scene
    scene.held.may_begin.set()
    scene.checkpointer.close()


def test_a_state_whose_copy_begins_in_the_next_backward_is_the_one_at_its_step(scene: Scene) -> None:
    """The network's running means have been changed by then, weights and moments not."""
    for _ in range(3):
        scene.step()
    expected = copied(scene.stepper.state())
    scene.save(3)
    scene.in_the_backward(scene.held.may_begin.set)

    for _ in range(3):
        scene.step()

    assert scene.checkpointer.drain() is None
    saved = scene.folder.find("3").state
    assert differences(saved["stepper"], expected) == []
    assert differences(saved["generators"], [rng_state(scene.world.device)]) == []
    assert len(differences(saved["stepper"], scene.stepper.state())) > 10


def test_the_next_update_waits_for_the_copy_and_its_forward_and_backward_do_not(scene: Scene) -> None:
    scene.step()
    expected = copied(scene.stepper.state())
    scene.save(1)
    has_gone_back, is_done = threading.Event(), threading.Event()
    scene.in_the_backward(has_gone_back.set)

    def make_step() -> None:
        scene.step()
        is_done.set()

    thread = threading.Thread(target=make_step)
    thread.start()
    assert has_gone_back.wait(PATIENCE_SECONDS)
    while scene.marker.now().stage is not Stage.CHECKPOINT:
        assert thread.is_alive()
    assert not is_done.is_set()
    still = scene.stepper.state()
    assert not [text for text in differences(still, expected) if "running" not in text and "num_batches" not in text]
    scene.held.may_begin.set()
    thread.join(PATIENCE_SECONDS)

    assert is_done.is_set()
    assert differences(scene.stepper.state(), expected)


def test_a_rollback_waits_for_the_copy(scene: Scene) -> None:
    scene.step()
    before = copied(scene.stepper.state())
    scene.step()
    expected = copied(scene.stepper.state())
    scene.save(2)
    thread = threading.Thread(target=scene.stepper.restore, args=(before,))
    thread.start()
    while scene.stepper.fence.is_closed and thread.is_alive():
        pass
    scene.held.may_begin.set()
    thread.join(PATIENCE_SECONDS)

    assert scene.checkpointer.drain() is None
    assert differences(scene.folder.find("2").state["stepper"], expected) == []
    assert differences(scene.stepper.state(), before) == []


def test_a_copy_that_fails_is_told_and_training_goes_on(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scene.step()
    with monkeypatch.context() as patch:
        patch.setattr(scene.held, "collect_later", lambda: lambda: 1 / 0)
        scene.save(1)
    scene.step()

    problem = scene.checkpointer.drain()
    assert problem == "step_0000001 could not be written (ZeroDivisionError: division by zero)"
    assert scene.told == [(1, problem)]
    assert "there is none on disk, and training goes on" in caplog.text
    scene.held.may_begin.set()
    scene.save(2)
    assert scene.checkpointer.drain() is None


def test_a_state_is_whole_although_a_rank_was_gone_before_it_sent_its_generators(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Lost(PendingGather):
        def __init__(self) -> None: ...

        def result(self) -> list[Any]:
            raise RuntimeError("Connection closed by peer")

    class Lonely(World):
        def begin_gather(self, _item: Any) -> PendingGather:
            return Lost()

    scene = Scene(tmp_path / "checkpoints", Lonely(RankEnvironment(), torch.device("cpu")))
    scene.held.may_begin.set()
    scene.step()
    scene.save(1)

    assert scene.checkpointer.drain() is None
    found = scene.folder.find("1")
    assert found.state["generators"] == []
    assert "holds no random generators, which every step seeds anew: Connection closed by peer" in caplog.text
    scene.step()
    scene.checkpointer.restore(found)
    assert differences(scene.stepper.state(), found.state["stepper"]) == []
    scene.checkpointer.close()


def test_however_many_states_are_saved_while_the_disk_hangs_few_copies_are_kept(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One being written, those that wait, and the last one given back."""
    go_on, save = threading.Event(), scene.folder.save

    def hang(*values: Any, **named: Any) -> Any:
        assert go_on.wait(PATIENCE_SECONDS)
        return save(*values, **named)

    monkeypatch.setattr(scene.folder, "save", hang)
    made: list[Tensor] = []
    empty_like = torch.empty_like

    def noting(source: Tensor, **options: Any) -> Tensor:
        made.append(empty_like(source, **options))
        return made[-1]

    monkeypatch.setattr(torch, "empty_like", noting)
    scene.held.may_begin.set()
    scene.step()
    tensors = len(differences(scene.stepper.state(), copied_otherwise(scene.stepper.state())))
    made.clear()
    for step in range(1, 13):
        scene.save(step)
        scene.step()

    assert 0 < len(made) <= (MAX_QUEUED + 2) * tensors
    go_on.set()
    assert scene.checkpointer.drain() is None
    assert scene.folder.steps()[0] == 12


def copied_otherwise(state: dict[str, Any]) -> dict[str, Any]:
    """A state that differs in each tensor."""

    def change(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.detach() + 1
        return {key: change(item) for key, item in value.items()} if isinstance(value, dict) else value

    result: dict[str, Any] = change(state)
    return result
