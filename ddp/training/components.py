"""The components of a trainer, built in `ddp/training/builder.py`, and the assembly of the training loop from them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from ddp.adaptive.controller import Controller
from ddp.checkpoint.checkpointer import Checkpointer, Stateful
from ddp.control.agreement import RankAgreement
from ddp.control.shutdown import ShutdownRequest
from ddp.distributed.rng import StepGenerators
from ddp.distributed.world import CollectiveTimeoutError, World, is_collective_timeout
from ddp.metrics.step_metrics import StepMetricsBuffer
from ddp.metrics.window import MetricsWindow
from ddp.recording.null_recorder import NullRecorder, RunRecorder
from ddp.step.batches import BatchStream
from ddp.step.data_continuity import DataContinuity
from ddp.step.nonfinite import NonFiniteSteps
from ddp.step.progress import samples_per_step
from ddp.step.resume_point import ResumePoint
from ddp.step.stepper import Stepper
from ddp.training.block_review import BlockReview, NonFiniteGuard
from ddp.training.boundary import StepBoundary
from ddp.training.checkpoints import Checkpoints
from ddp.training.command_executor import CommandExchange, CommandExecutor, CommandLoop
from ddp.training.metrics_publisher import MetricsPublisher
from ddp.training.passes.preview_pass import PreviewPass
from ddp.training.passes.validation_pass import ImageScoring, ValidationPass
from ddp.training.recovery.incident import Incident
from ddp.training.recovery.rollback import Rollback
from ddp.training.recovery.survivor import Survivor
from ddp.training.run_status import RunStatus
from ddp.training.settings_change import SettingsChange
from ddp.training.snapshot import SnapshotBuilder
from ddp.training.trainer import StepAccounting, StepMaker, Trainer
from ddp.validation.image_scores import Networks
from ddp.validation.preview.rendering import TILE
from ddp.validation.tiles import ImageForward
from ddp.watchdog.stages import Stage, StageMarker
from ddp.watchdog.watchdog import HangFiles, Watchdog
from ddp.workload import Workload, reach_of
from service.run.directory import RunDirectory

WATCHING_RANKS = (0, 1)
"""Rank 0 looks for hangs of all ranks, rank 1 for those of rank 0."""


@dataclass(frozen=True)
class SavedComponents:
    """Components whose state is saved in checkpoints."""

    run_status: RunStatus
    stepper: Stepper
    controller: Controller
    metrics_buffer: StepMetricsBuffer
    nonfinite_steps: NonFiniteSteps
    window: MetricsWindow
    snapshot_builder: SnapshotBuilder
    data: DataContinuity

    def by_key(self) -> dict[str, Stateful]:
        """Return each component under its key in a checkpoint."""
        return {
            "progress": self.run_status.progress,
            "stepper": self.stepper,
            "controller": self.controller,
            "ledger": self.metrics_buffer,
            "bad_steps": self.nonfinite_steps,
            "window": self.window,
            "composer": self.snapshot_builder,
            "data": self.data,
        }


@dataclass(frozen=True)
class TrainerComponents:
    """Components of one rank's trainer; only the recorder differs between rank 0 and the others."""

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
    agreement: RankAgreement
    recorder: RunRecorder
    checkpointer: Checkpointer
    marker: StageMarker
    shutdown: ShutdownRequest
    run_status: RunStatus
    data: DataContinuity
    resume_point: ResumePoint
    incident: Incident
    survivor: Survivor


def build_trainer(c: TrainerComponents) -> Trainer:
    """Assemble the training loop; each class receives only what it uses."""
    metrics = MetricsPublisher(c.world, c.window, c.snapshot_builder, c.recorder, c.run_status, c.marker)
    checkpoints = build_checkpoints(c)
    boundary = StepBoundary(
        c.world, c.run_status, c.recorder, metrics, _build_validation(c, metrics), checkpoints, c.marker
    )
    settings = SettingsChange(c.run_status, c.controller, c.recorder, metrics, has_perceptual=c.workload.has_perceptual)
    rollback = _build_rollback(c, checkpoints, settings)
    exchange = CommandExchange(c.world, c.run_id, c.run_status, c.recorder)
    previews = _build_previews(c)
    executor = CommandExecutor(exchange, boundary, checkpoints, settings, rollback, previews, c.run_status, c.marker)
    guard = NonFiniteGuard(c.world, c.nonfinite_steps, c.run_status, c.recorder, checkpoints, rollback)
    generators = StepGenerators(c.run_status.config.seed, c.world.rank, c.world.device)
    return Trainer(
        c.run_status,
        c.window,
        BlockReview(c.metrics_buffer, guard, c.controller, c.run_status, c.recorder),
        StepMaker(
            c.stepper,
            c.batch_stream,
            c.controller,
            c.agreement,
            c.run_status,
            c.window,
            c.marker,
            generators,
            c.resume_point,
        ),
        _build_accounting(c),
        boundary,
        CommandLoop(c.agreement, executor, c.run_status, c.recorder, c.window, c.marker),
        c.resume_point,
        c.incident,
    )


@contextmanager
def watchdog_running(components: TrainerComponents) -> Iterator[None]:
    """Run the watchdog within the block: every rank reports its stage, rank 0 detects stalled ranks.

    Raises `CollectiveTimeoutError`, which names the rank that hangs, in place of the process group's own error.
    """
    world, recorder = components.world, components.recorder
    watchdog = Watchdog(
        components.marker,
        world.status_store(),
        (world.rank, world.host, str(world.device)),
        stall_seconds=lambda: components.run_status.config.stall_seconds,
        report=None if isinstance(recorder, NullRecorder) else recorder.publish_rank_statuses,
        on_stall=recorder.record_stall if world.rank in WATCHING_RANKS else None,
        on_end=lambda ended: ended.tell(recorder.event),
        is_ended=lambda: components.run_status.config.stall_action == "restart",
        is_leaving=lambda: components.shutdown.is_set,
        on_lost_rank=components.shutdown.give_up,
        files=HangFiles(lambda: components.directory.root, "" if world.is_main else f"_of_rank_{world.rank}"),
    )
    watchdog.start()
    try:
        yield
    except RuntimeError as error:
        if not is_collective_timeout(error):
            raise
        seconds = components.run_status.config.collective_timeout_seconds
        raise CollectiveTimeoutError(watchdog.explain_timeout(seconds)) from error
    finally:
        watchdog.close()


def build_checkpoints(c: TrainerComponents) -> Checkpoints:
    """Build the `Checkpoints` of this trainer."""
    return Checkpoints(c.world, c.checkpointer, c.run_status, c.recorder, c.window, c.marker, lambda: c.shutdown.is_set)


def _networks(c: TrainerComponents, tile: int) -> Networks:
    ema = None if c.stepper.ema is None else c.stepper.ema.model
    return Networks(c.stepper.model, ema, c.stepper.loss, ImageForward(tile, reach_of(c.workload)))


def _build_previews(c: TrainerComponents) -> PreviewPass:
    networks = _networks(c, c.run_status.config.val_tile or TILE if reach_of(c.workload) is not None else 0)
    return PreviewPass(c.world, c.workload, networks, c.recorder, c.run_status, c.window, c.marker, c.shutdown)


def _build_validation(c: TrainerComponents, metrics: MetricsPublisher) -> ValidationPass:
    networks = _networks(c, c.run_status.config.val_tile)
    scoring = ImageScoring(c.world, c.workload, networks, c.marker, c.shutdown, c.recorder.mark_progress)
    return ValidationPass(scoring, metrics, c.snapshot_builder, c.recorder, c.controller, c.run_status, c.window)


def _build_rollback(c: TrainerComponents, checkpoints: Checkpoints, settings: SettingsChange) -> Rollback:
    def continue_at(step: int) -> None:
        c.batch_stream.reset()
        c.marker.forget(Stage.DATA)  # its loaders start anew
        c.agreement.reset(step)

    archive_of = partial(c.directory.archive_of_branch, c.run_id)
    report_data = partial(c.data.report, c.recorder.event, is_main=c.world.is_main)
    return Rollback(
        c.world, c.run_status, checkpoints, settings, c.recorder, archive_of, continue_at, report_data, c.resume_point
    )


def _build_accounting(c: TrainerComponents) -> StepAccounting:
    samples = samples_per_step(c.run_status.config, c.world.size)
    return StepAccounting(
        c.run_status,
        c.window,
        c.metrics_buffer,
        c.snapshot_builder,
        c.recorder,
        c.resume_point,
        samples_per_step=samples,
    )
