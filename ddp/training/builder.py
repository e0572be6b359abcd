"""Builds the components of one rank's trainer from settings, in the order in which they need each other."""

import hashlib
import logging
from collections.abc import Iterator
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
from ddp.recording.log_files import also_to_file
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
    """How a person asked to start."""

    loaded: LoadedConfig
    resume: bool
    fresh: bool


@contextmanager
def claimed_run_directory(world: World, start: Start, listener: QueueListener) -> Iterator[str]:
    """Hold the run directory: rank 0 claims it, every rank learns the run's id, or the same error."""
    directory = RunDirectory(start.loaded.config.data_root)
    claimed: Claim | None = None
    problem: UserError | None = None
    if world.is_main:
        try:
            # The launcher's restart after a failure continues the run, whatever the first start was asked to do.
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
        also_to_file(listener, directory.log)
    try:
        yield world.from_main(claimed.run_id if claimed else "")
    finally:
        if claimed is not None:
            claimed.lock.close()


def open_workload(world: World, config: RunConfig) -> Workload:
    """Open the data on every rank; all must see the same. Raises `DatasetError` on all ranks alike."""
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
    """Network, optimizer, controller, recorder …; resumes when the run directory holds a saved state."""
    config = start.loaded.config
    marker = StageMarker()
    seed_rng(config.seed)
    stepper = Stepper(world, config, workload, marker)
    seed_rng(config.seed + 1 + world.rank)  # the weights are alike on all ranks, dropout is not
    run_status = RunStatus(Progress(), LiveSettings(config, {}))
    controller = Controller.of(run_status.config, has_perceptual=workload.has_perceptual)
    metrics_buffer, nonfinite_steps, window = (
        StepMetricsBuffer(world.device, config.adapt_every),
        NonFiniteSteps(),
        MetricsWindow(world),
    )
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
    directory = RunDirectory(config.data_root)
    shape = {name: getattr(config, name) for name in SHAPE}
    folder = CheckpointFolder(directory.checkpoints)
    checkpointer = Checkpointer(world, folder, lambda: run_status.config.keep_checkpoints, shape, saved_components)
    records = _resume(world, checkpointer, run_status, controller)
    command_queue = CommandQueue()
    agreement = RankAgreement(
        world, command_queue, lambda: shutdown.is_set, first_check_step=run_status.progress.step + 1
    )
    recorder = _open_recorder(world, start, run_id, run_status, command_queue, workload, checkpointer)
    recorder.adopt_records(records)
    if world.is_main:
        _log_start(recorder, world, workload, run_status.progress)
    return TrainerComponents(
        world=world,
        run_id=run_id,
        directory=directory,
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
    """Within it, this rank says what it is doing, and rank 0 names who holds the others up."""
    world, recorder = components.world, components.recorder
    place = (world.rank, world.host, str(world.device))
    watchdog = Watchdog(
        components.marker,
        world.status_store(),
        place,
        stall_seconds=lambda: components.run_status.config.stall_seconds,
        report=None if isinstance(recorder, NullRecorder) else recorder.show_ranks,
        on_stall=None if isinstance(recorder, NullRecorder) else recorder.note_stall,
    )
    watchdog.start()
    try:
        yield
    finally:
        watchdog.close()


def _resume(world: World, checkpointer: Checkpointer, run_status: RunStatus, controller: Controller) -> list[Record]:
    """Take over the newest saved state, if there is one; returns the records that were not on disk with it."""
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
    """Rank 0's recorder at work; silence elsewhere. Raises `RunDirectoryError` on every rank when it cannot begin."""
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
    # Only here, because they bring SQLAlchemy along, which no other rank needs.
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
    recorder.show_settings(run_status.live)
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
