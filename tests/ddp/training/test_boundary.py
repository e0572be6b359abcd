"""A validation at a step boundary: what is saved after it, what it leaves behind when a signal ends it."""

from collections.abc import Callable

import pytest
import torch

from ddp.checkpoint.folder import Reason
from ddp.distributed.environment import RankEnvironment
from ddp.distributed.world import World
from ddp.recording.null_recorder import NullRecorder
from ddp.step.progress import Progress
from ddp.training.boundary import StepBoundary
from ddp.training.checkpoints import Checkpoints
from ddp.training.metrics_publisher import MetricsPublisher
from ddp.training.passes.validation_pass import ValidationPass
from ddp.training.run_status import RunStatus
from ddp.watchdog.stages import StageMarker
from service.commands import Command
from service.config.live_settings import LiveSettings
from service.config.settings import RunConfig
from service.run.state import RunState

CONFIG = RunConfig(max_steps=100, val_step_every=10, checkpoint_every=25, log_every=1000)


class NoMetrics(MetricsPublisher):
    """Publishes nothing."""

    def __init__(self) -> None: ...

    def log_point(self) -> None: ...

    def publish_snapshot(self, trigger: str = "schedule", *, validating: bool = False) -> None: ...

    def measure(self) -> None: ...


class ScriptedValidation(ValidationPass):
    """Finds the same quality every time, or is ended by a signal."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.quality = 0.5
        self.is_ended_by_signal = False
        self.asked: list[tuple[str, tuple[Command, ...]]] = []

    def run(self, trigger: str, commands: tuple[Command, ...] = ()) -> bool:
        self.asked.append((trigger, commands))
        if self.is_ended_by_signal:
            return False
        self.progress.note_validation(self.quality)
        return True


class NotedCheckpoints(Checkpoints):
    """Notes why a state was to be saved, and whether it owed a validation; decides as the real one what is the best."""

    def __init__(self, run_status: RunStatus) -> None:
        self._run_status = run_status
        self.saved: list[tuple[Reason, bool]] = []
        self.problem: str | None = None

    def prepare(self) -> None:
        """No copy is ever taken."""

    def save(self, reason: Reason, on_written: Callable[[int, str | None], None] = lambda *_: None) -> None:
        self.saved.append((reason, self._run_status.progress.owes_validation))
        on_written(self._run_status.progress.step, None)

    def save_last(self, reason: Reason) -> str | None:
        self.save(reason)
        return self.problem


class Scene:
    """A boundary after `step`."""

    def __init__(self, step: int) -> None:
        world = World(RankEnvironment(), torch.device("cpu"))
        self.progress = Progress(step=step)
        self.status = RunStatus(self.progress, LiveSettings(CONFIG))
        self.validation = ScriptedValidation(self.progress)
        self.checkpoints = NotedCheckpoints(self.status)
        self.boundary = StepBoundary(
            world, self.status, NullRecorder(), NoMetrics(), self.validation, self.checkpoints, StageMarker()
        )


@pytest.mark.parametrize("trigger", ["schedule", "manual"])
def test_the_best_state_so_far_is_saved_after_a_validation_and_no_other(trigger: str) -> None:
    scene = Scene(10)

    assert scene.boundary.validate_then_save(trigger)
    scene.progress.step, scene.validation.quality = 20, 0.4
    assert scene.boundary.validate_then_save(trigger)

    assert scene.checkpoints.saved == [(Reason.BEST, False)]


def test_the_best_state_is_saved_once_where_the_schedule_saves_it_anyway() -> None:
    scene = Scene(50)

    scene.boundary.run_due_actions()

    assert scene.checkpoints.saved == [(Reason.SCHEDULE, False)]


def test_a_command_saves_the_best_state_also_at_a_step_that_the_schedule_has_saved_before() -> None:
    scene = Scene(25)
    scene.boundary.run_due_actions()

    assert scene.boundary.validate_then_save("manual")

    assert scene.checkpoints.saved == [(Reason.SCHEDULE, False), (Reason.BEST, False)]


def test_a_signal_during_a_scheduled_validation_saves_a_state_that_owes_it() -> None:
    scene = Scene(10)
    scene.validation.is_ended_by_signal = True

    scene.boundary.run_due_actions()

    assert scene.checkpoints.saved == [(Reason.LEAVE, True)]
    assert (scene.status.ending, scene.status.is_leaving) == (RunState.STOPPED, True)


def test_a_signal_during_a_validation_by_command_leaves_without_a_debt() -> None:
    scene = Scene(10)
    scene.validation.is_ended_by_signal = True

    assert not scene.boundary.validate_then_save("manual")

    assert scene.checkpoints.saved == [(Reason.LEAVE, False)]


def test_a_run_that_owes_a_validation_makes_it_up_when_it_begins() -> None:
    scene = Scene(10)
    scene.progress.owes_validation = True

    scene.boundary.begin()

    assert scene.validation.asked == [("schedule", ())]
    assert not scene.progress.owes_validation


def test_the_end_of_the_training_validates_once_and_saves_the_final_state() -> None:
    scene = Scene(100)

    scene.boundary.run_due_actions()
    scene.boundary.finish()

    assert scene.validation.asked == [("final", ())]
    assert scene.checkpoints.saved == [(Reason.FINAL, False)]
    assert (scene.status.ending, scene.status.unsaved) == (RunState.FINISHED, None)


def test_an_end_without_its_last_state_is_a_failure_with_the_reason() -> None:
    scene = Scene(100)
    scene.checkpoints.problem = "the disk is full"

    scene.boundary.finish()

    assert scene.status.ending is RunState.FAILED
    assert scene.status.unsaved is not None
    assert scene.status.unsaved.startswith("finished at step 100, but the last state is not on disk: the disk is full")
