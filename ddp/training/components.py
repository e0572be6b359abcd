"""What a trainer is made of. Built in `ddp/training/builder.py`."""

from dataclasses import dataclass

from ddp.adaptive.controller import Controller
from ddp.checkpoint.checkpointer import Saver
from ddp.control.agreement import Control
from ddp.control.shutdown import LeaveRequest
from ddp.distributed.world import World
from ddp.metrics.step_metrics import Ledger
from ddp.metrics.window import Window
from ddp.recording.null_recorder import SilentRecorder
from ddp.recording.recorder import Recorder
from ddp.step.batches import Feed
from ddp.step.nonfinite import BadSteps
from ddp.step.stepper import Stepper
from ddp.training.run_status import Standing
from ddp.training.snapshot import Composer
from ddp.watchdog.stages import StageMarker
from ddp.workload import Workload
from service.run.directory import RunDirectory


@dataclass(frozen=True)
class Parts:
    """The parts of one rank's trainer; the same on every rank but for the recorder."""

    world: World
    run_id: str
    directory: RunDirectory
    workload: Workload
    feed: Feed
    stepper: Stepper
    controller: Controller
    ledger: Ledger
    bad_steps: BadSteps
    window: Window
    composer: Composer
    control: Control
    recorder: Recorder | SilentRecorder
    saver: Saver
    marker: StageMarker
    leave: LeaveRequest
    standing: Standing
