"""What a trainer is made of. Built in `ddp/training/builder.py`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ddp.adaptive.controller import Controller
from ddp.checkpoint.checkpointer import Checkpointer
from ddp.control.agreement import RankAgreement
from ddp.control.shutdown import ShutdownRequest
from ddp.distributed.world import World
from ddp.metrics.step_metrics import StepMetricsBuffer
from ddp.metrics.window import MetricsWindow
from ddp.recording.null_recorder import NullRecorder
from ddp.step.batches import BatchStream
from ddp.step.nonfinite import NonFiniteSteps
from ddp.step.stepper import Stepper
from ddp.training.run_status import RunStatus
from ddp.training.snapshot import SnapshotBuilder
from ddp.watchdog.stages import StageMarker
from ddp.workload import Workload
from service.run.directory import RunDirectory

if TYPE_CHECKING:
    from ddp.recording.recorder import Recorder  # with it SQLAlchemy, which rank 0 alone needs


@dataclass(frozen=True)
class TrainerComponents:
    """The parts of one rank's trainer; the same on every rank but for the recorder."""

    world: World
    run_id: str
    directory: RunDirectory
    workload: Workload
    batch_stream: BatchStream
    stepper: Stepper
    controller: Controller
    metrics_buffer: StepMetricsBuffer
    nonfinite_steps: NonFiniteSteps
    window: MetricsWindow
    snapshot_builder: SnapshotBuilder
    control: RankAgreement
    recorder: "Recorder | NullRecorder"
    checkpointer: Checkpointer
    marker: StageMarker
    leave: ShutdownRequest
    run_status: RunStatus
