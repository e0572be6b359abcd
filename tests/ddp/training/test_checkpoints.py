"""The last state of a run: saved, tried again while the disk refuses it, or known to be on disk already."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ddp.checkpoint.checkpointer import Checkpointer
from ddp.checkpoint.folder import CheckpointFolder, Reason
from ddp.distributed.environment import RankEnvironment
from ddp.distributed.world import World
from ddp.metrics.window import MetricsWindow
from ddp.recording.null_recorder import NullRecorder
from ddp.step.progress import Progress
from ddp.training import checkpoints as checkpoints_module
from ddp.training.checkpoints import AFTER_SIGNAL_SECONDS, Checkpoints
from ddp.training.run_status import RunStatus
from ddp.watchdog.stages import StageMarker
from service.config.live_settings import LiveSettings
from service.config.settings import RunConfig


class Scene:
    """The checkpoints of a run at step 7."""

    def __init__(self, root: Path, seconds: float) -> None:
        world = World(RankEnvironment(), torch.device("cpu"))
        self.folder = CheckpointFolder(root)
        self.checkpointer = Checkpointer(world, self.folder, lambda: 0, {}, {})
        self.status = RunStatus(Progress(step=7), LiveSettings(RunConfig(last_save_seconds=seconds)))
        self.is_asked_to_leave = False
        self.checkpoints = Checkpoints(
            world, self.checkpointer, self.status, NullRecorder(), MetricsWindow(world), StageMarker(),
            lambda: self.is_asked_to_leave,
        )  # fmt: skip


@pytest.fixture
def scene_of(tmp_path: Path) -> Iterator[Callable[[float], Scene]]:
    scenes: list[Scene] = []

    def make(seconds: float) -> Scene:
        scenes.append(Scene(tmp_path / "checkpoints", seconds))
        return scenes[-1]

    yield make
    for scene in scenes:
        scene.checkpointer.close()


class Disk:
    """A disk that refuses everything until `room_after` attempts have failed."""

    def __init__(self, room_after: int) -> None:
        self.attempts, self._room_after, self._fsync = 0, room_after, os.fsync

    def fsync(self, descriptor: int) -> None:
        if self.attempts < self._room_after:
            self.attempts += 1
            raise OSError(28, "No space left on device")
        self._fsync(descriptor)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, which take no time; nothing else takes any, however slow the disk is."""
    pauses: list[float] = []

    class Clock:
        monotonic = staticmethod(lambda: sum(pauses))
        sleep = staticmethod(pauses.append)

    monkeypatch.setattr(checkpoints_module, "time", Clock)
    return pauses


def refuse(monkeypatch: pytest.MonkeyPatch, attempts: int) -> Disk:
    disk = Disk(attempts)
    monkeypatch.setattr(os, "fsync", disk.fsync)
    return disk


def test_the_last_state_is_tried_again_until_there_is_room(
    scene_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    scene = scene_of(60)
    refuse(monkeypatch, 4)

    assert scene.checkpoints.save_last(Reason.FINAL) is None
    assert scene.folder.holds(7)
    assert clock == [2.0] * 4


@pytest.mark.parametrize(("is_asked_to_leave", "seconds"), [(False, 60.0), (True, AFTER_SIGNAL_SECONDS)])
def test_it_is_given_up_after_a_time_that_is_shorter_after_a_signal(
    scene_of: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    clock: list[float],
    is_asked_to_leave: bool,
    seconds: float,
) -> None:
    scene = scene_of(60)
    scene.is_asked_to_leave = is_asked_to_leave
    refuse(monkeypatch, 1000)

    problem = scene.checkpoints.save_last(Reason.LEAVE)

    assert problem == "step_0000007 could not be written (No space left on device: make room); there is none on disk"
    assert seconds - 4 <= sum(clock) <= seconds


def test_a_state_of_the_same_step_that_was_saved_before_is_enough(
    scene_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    scene = scene_of(60)
    assert scene.checkpoints.save_and_wait(Reason.COMMAND) is None
    refuse(monkeypatch, 1000)

    assert scene.checkpoints.save_last(Reason.LEAVE) is None
    assert clock == []
    # It must be whole, though.
    (scene.folder.find("step_0000007").saved.folder / "state.pt").write_bytes(b"")
    assert "could not be written" in str(scene.checkpoints.save_last(Reason.LEAVE))
