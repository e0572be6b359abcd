"""Builds the components of one rank's trainer from settings, in the order of their dependencies."""

import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from logging.handlers import QueueListener
from typing import TYPE_CHECKING

from ddp.adaptive.controller import Controller
from ddp.checkpoint.checkpointer import Checkpointer, Stateful
from ddp.checkpoint.folder import CheckpointFolder
from ddp.control.agreement import RankAgreement
from ddp.control.command_queue import CommandQueue
from ddp.control.shutdown import ShutdownRequest
from ddp.distributed.rng import seed_rng
from ddp.distributed.world import World
from ddp.metrics.step_metrics import StepMetricsBuffer
from ddp.metrics.window import MetricsWindow
from ddp.recording.log_files import add_log_file
from ddp.recording.null_recorder import NullRecorder, RunRecorder
from ddp.recording.trackers.select import open_tracker
from ddp.step.batches import BatchStream
from ddp.step.nonfinite import NonFiniteSteps
from ddp.step.progress import Progress
from ddp.step.stepper import Stepper
from ddp.training.components import TrainerComponents
from ddp.training.run_status import RunStatus
from ddp.training.snapshot import SnapshotBuilder
from ddp.watchdog.stages import StageMarker
from ddp.watchdog.watchdog import Watchdog
from ddp.workload import Workload, load_workload
from service.config.live_settings import LiveSettings
from service.config.loader import LoadedConfig
from service.config.settings import RunConfig
from service.errors import DatasetError, RunDirectoryError, UserError
from service.run.directory import Claim, RunDirectory, claim, write_config
from service.run.record import Record

if TYPE_CHECKING:
    from ddp.recording.recorder import Recorder

RESTART_PATIENCE_SECONDS = 60.0
SHAPE = ("workload", "n_feats", "n_blocks", "n_frames", "scale")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """Configuration and options of the start command."""

    loaded: LoadedConfig
    resume: bool
    fresh: bool


@contextmanager
def claimed_run_directory(world: World, start: Start, listener: QueueListener) -> Iterator[str]:
    """Claim the run directory on rank 0, yield the run's id on every rank; all ranks raise the same `UserError`."""
    directory = RunDirectory(start.loaded.config.data_root)
    claimed: Claim | None = None
    problem: UserError | None = None
    if world.is_main:
        try:
            # The launcher's restart after a failure always continues the run, whatever the options of the first start.
            is_restart = world.restarts > 0
            claimed = claim(
                directory,
                resume=start.resume or is_restart,
                fresh=start.fresh and not is_restart,
                timeout_seconds=RESTART_PATIENCE_SECONDS if is_restart else 0.0,
            )
        except UserError as error:
            problem = error
        except OSError as error:
            problem = _unwritable(directory, error)
    world.raise_together(problem)
    if claimed is not None:
        add_log_file(listener, directory.log)
    try:
        yield world.from_main(claimed.run_id if claimed else "")
    finally:
        if claimed is not None:
            claimed.lock.close()


def open_workload(world: World, config: RunConfig) -> Workload:
    """Open the data on every rank. Raises `DatasetError` on all ranks if they see different data."""
    workload: Workload | None = None
    problem: UserError | None = None
    try:
        workload = load_workload(config)
    except UserError as error:
        problem = error
    world.raise_together(problem)
    assert workload is not None
    fingerprints = world.gather(_fingerprint(workload))
    if len(set(fingerprints)) > 1:
        raise DatasetError(
            f"The ranks see different data in {config.dataset_root}; mount the same folder everywhere, and let nothing "
            "write to it during a start."
        )
    return workload


def build_components(
    world: World, start: Start, run_id: str, shutdown: ShutdownRequest, workload: Workload
) -> TrainerComponents:
    """Build all components; restore the newest checkpoint of the run directory, if there is one."""
    config = start.loaded.config
    marker = StageMarker()
    stepper = _make_stepper(world, config, workload, marker)
    run_status = RunStatus(Progress(), LiveSettings(config, {}))
    controller = Controller.of(run_status.config, has_perceptual=workload.has_perceptual)
    metrics_buffer = StepMetricsBuffer(world.device, config.adapt_every)
    nonfinite_steps = NonFiniteSteps()
    window = MetricsWindow(world)
    snapshot_builder = SnapshotBuilder(world, run_id, workload, stepper, controller, nonfinite_steps, run_status)
    saved_components: dict[str, Stateful] = {
        "progress": run_status.progress,
        "stepper": stepper,
        "controller": controller,
        "ledger": metrics_buffer,
        "bad_steps": nonfinite_steps,
        "window": window,
        "composer": snapshot_builder,
    }
    checkpointer = _make_checkpointer(world, run_status, saved_components)
    records = _resume(world, checkpointer, run_status, controller)
    command_queue = CommandQueue()
    agreement = _make_agreement(world, command_queue, shutdown, run_status.progress)
    recorder = _open_recorder(world, start, run_id, run_status, command_queue, workload, checkpointer)
    recorder.adopt_records(records)
    if world.is_main:
        _log_start(recorder, world, workload, run_status.progress)
    return TrainerComponents(
        world=world,
        run_id=run_id,
        directory=RunDirectory(config.data_root),
        workload=workload,
        batch_stream=BatchStream(world, workload, run_status.progress),
        stepper=stepper,
        controller=controller,
        metrics_buffer=metrics_buffer,
        nonfinite_steps=nonfinite_steps,
        window=window,
        snapshot_builder=snapshot_builder,
        agreement=agreement,
        recorder=recorder,
        checkpointer=checkpointer,
        marker=marker,
        shutdown=shutdown,
        run_status=run_status,
    )


@contextmanager
def watchdog_running(components: TrainerComponents) -> Iterator[None]:
    """Run the watchdog within the block: every rank reports its stage, rank 0 detects stalled ranks."""
    world, recorder = components.world, components.recorder
    watchdog = Watchdog(
        components.marker,
        world.status_store(),
        (world.rank, world.host, str(world.device)),
        stall_seconds=lambda: components.run_status.config.stall_seconds,
        report=None if isinstance(recorder, NullRecorder) else recorder.publish_rank_statuses,
        on_stall=None if isinstance(recorder, NullRecorder) else recorder.record_stall,
    )
    watchdog.start()
    try:
        yield
    finally:
        watchdog.close()


def _make_stepper(world: World, config: RunConfig, workload: Workload, marker: StageMarker) -> Stepper:
    """Build the stepper with equal weights on all ranks, then seed the random generators of each rank differently."""
    seed_rng(config.seed)
    stepper = Stepper(world, config, workload, marker)
    seed_rng(config.seed + 1 + world.rank)
    return stepper


def _make_checkpointer(world: World, run_status: RunStatus, components: Mapping[str, Stateful]) -> Checkpointer:
    config = run_status.config
    shape = {name: getattr(config, name) for name in SHAPE}
    folder = CheckpointFolder(RunDirectory(config.data_root).checkpoints)
    return Checkpointer(world, folder, lambda: run_status.config.keep_checkpoints, shape, components)


def _make_agreement(
    world: World, command_queue: CommandQueue, shutdown: ShutdownRequest, progress: Progress
) -> RankAgreement:
    return RankAgreement(world, command_queue, lambda: shutdown.is_set, first_check_step=progress.step + 1)


def _resume(world: World, checkpointer: Checkpointer, run_status: RunStatus, controller: Controller) -> list[Record]:
    """Restore the newest checkpoint, if there is one; return the records that were not on disk when it was saved."""
    found = checkpointer.newest()
    if found is None:
        return []
    extra = checkpointer.restore(found)
    run_status.live, sentences = LiveSettings.resumed(run_status.live.start, extra["live"])
    controller.configure(run_status.config, run_status.live.pins)
    if world.is_main:
        for sentence in sentences:
            logger.info("%s", sentence)
    records: list[Record] = extra["records"]
    return records


def _open_recorder(
    world: World,
    start: Start,
    run_id: str,
    run_status: RunStatus,
    command_queue: CommandQueue,
    workload: Workload,
    checkpointer: Checkpointer,
) -> RunRecorder:
    """Start rank 0's recorder; return a no-op recorder on other ranks. All ranks raise the same `UserError`."""
    recorder: Recorder | None = None
    problem: UserError | None = None
    if world.is_main:
        try:
            recorder = _make_recorder(start.loaded, run_id, run_status, command_queue, workload, checkpointer)
        except UserError as error:
            problem = error
        except OSError as error:
            problem = _unwritable(RunDirectory(start.loaded.config.data_root), error)
    world.raise_together(problem)
    return recorder or NullRecorder()


def _unwritable(directory: RunDirectory, error: OSError) -> RunDirectoryError:
    return RunDirectoryError(f"DATA_ROOT {directory.root} cannot be written ({error.strerror}); make room there.")


def _make_recorder(
    loaded: LoadedConfig,
    run_id: str,
    run_status: RunStatus,
    command_queue: CommandQueue,
    workload: Workload,
    checkpointer: Checkpointer,
) -> "Recorder":
    # Imported here, because they import SQLAlchemy, which no other rank needs.
    from ddp.control.command_poller import CommandPoller
    from ddp.recording.recorder import Recorder
    from ddp.recording.registration import RunRegistration, register_run
    from ddp.recording.trainer_stats import TrainerStatsSource

    config, directory, progress = loaded.config, RunDirectory(loaded.config.data_root), run_status.progress
    registration = RunRegistration(run_id, write_config(directory, loaded), progress.step)
    store, previous = register_run(config, registration)
    stats = TrainerStatsSource(directory, previous or {}, workload.has_perceptual, checkpointer.stats)
    for path in directory.archive_records_after(progress.last_recorded_step):
        logger.info("%s lies beyond the resumed step %d and was moved to archive/.", path.name, progress.step)
    tracker = open_tracker(config, directory)
    commands = CommandPoller(store, run_id, command_queue)
    recorder = Recorder(store, directory, run_id, commands, other_stats=stats.current, tracker=tracker)
    if previous is None:
        recorder.register_when_reachable(registration.in_store)
    recorder.mark_step(progress.step)
    recorder.publish_settings(run_status.live)
    recorder.start()
    return recorder


def _log_start(recorder: RunRecorder, world: World, workload: Workload, progress: Progress) -> None:
    logger.info(
        "%s at step %d: %d ranks on %s, %d training samples, %d validation images.",
        "Resuming" if progress.step else "Starting",
        progress.step,
        world.size,
        world.device.type,
        workload.sample_count,
        len(workload.validation_images.names),
    )
    if workload.left_out:
        shown = "; ".join(workload.left_out[:5])
        logger.warning("%d files of the dataset were left out: %s", len(workload.left_out), shown)
        recorder.event("left out", {"files": list(workload.left_out)})
    for notice in workload.notices:
        logger.info("%s", notice)
    recorder.event("started", {"step": progress.step, "world_size": world.size})


def _fingerprint(workload: Workload) -> str:
    names = "\n".join([str(workload.sample_count), *workload.validation_images.names])
    return hashlib.sha256(names.encode()).hexdigest()
