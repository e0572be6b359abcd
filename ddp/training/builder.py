"""Builds the components of one rank's trainer from settings, in the order of their dependencies."""

import logging
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from ddp.adaptive.controller import Controller
from ddp.checkpoint.checkpointer import Checkpointer
from ddp.checkpoint.folder import CheckpointFolder
from ddp.checkpoint.initial_weights import InitialWeights, read_initial_weights
from ddp.checkpoint.network_shape import shape_of
from ddp.checkpoint.survivor_states import SurvivorStates
from ddp.control.agreement import RankAgreement
from ddp.control.command_queue import CommandQueue
from ddp.control.replay import Replay
from ddp.control.replay_start import begin_replay, report_replay
from ddp.control.shutdown import ShutdownRequest
from ddp.distributed.rng import seed_rng
from ddp.distributed.world import World
from ddp.metrics.step_metrics import StepMetricsBuffer
from ddp.metrics.time_account import TimeAccount
from ddp.metrics.window import MetricsWindow
from ddp.recording.null_recorder import NullRecorder, RunRecorder
from ddp.recording.trackers.select import open_tracker
from ddp.step.batches import BatchStream
from ddp.step.data_continuity import DataContinuity
from ddp.step.nonfinite import NonFiniteSteps
from ddp.step.progress import Progress
from ddp.step.resume_point import ResumePoint
from ddp.step.stepper import Stepper
from ddp.training.components import SavedComponents, TrainerComponents
from ddp.training.recovery.incident import Incident
from ddp.training.recovery.resume import Resumed, Resumption
from ddp.training.recovery.survivor import Survivor
from ddp.training.run_status import RunStatus
from ddp.training.snapshot import SnapshotBuilder
from ddp.watchdog.stages import StageMarker
from ddp.workload import Workload, data_identity, load_workload
from service.config.live_settings import LiveSettings
from service.config.loader import LoadedConfig
from service.config.settings import RunConfig
from service.errors import DatasetError, UserError
from service.run.directory import RunDirectory, unwritable, write_config
from service.run.identity import RunIdentity
from service.run.lock import RunLock
from service.run.run_folder import RunFolder

if TYPE_CHECKING:
    from ddp.recording.recorder import Recorder

ClaimedRun = tuple[RunIdentity, RunLock | None]
"""The run to train, and on rank 0 the lock on its directory."""

logger = logging.getLogger(__name__)


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
    if len(set(world.gather(data_identity(workload)))) > 1:
        raise DatasetError(
            f"The ranks see different data in {config.dataset_root}; mount the same folder everywhere, and let nothing "
            "write to it during a start."
        )
    return workload


def open_initial_weights(world: World, source: str, workload: Workload) -> InitialWeights | None:
    """Read the weights at INIT_FROM, the same on every rank; None without a `source`.

    Raises `SettingError` on all ranks.
    """
    weights: InitialWeights | None = None
    problem: UserError | None = None
    if world.is_main and source:
        try:
            weights = read_initial_weights(source, workload.build_model().state_dict())
        except UserError as error:
            problem = error
    world.raise_together(problem)
    return world.from_main(weights)


def build_components(
    world: World,
    loaded: LoadedConfig,
    identity: RunIdentity,
    shutdown: ShutdownRequest,
    workload: Workload,
    weights: InitialWeights | None = None,
    lock: RunLock | None = None,
    replay: Replay | None = None,
    states: SurvivorStates | None = None,
) -> TrainerComponents:
    """Build all components; restore the newest of `states`, else of the checkpoints, or begin with `weights`.

    Raises `RunDirectoryError` if there is none although the run has saved some.
    """
    config, marker = loaded.config, StageMarker()
    saved = _make_saved_components(world, config, identity, workload, marker)
    run_status = saved.run_status
    checkpointer = _make_checkpointer(world, saved)
    resume_point, incident = ResumePoint(), Incident(world)
    resumed = Resumption(world, checkpointer, identity, run_status).restore(states, saved.controller, resume_point)
    _begin(world, saved, checkpointer, resumed, incident, weights, replay)
    command_queue = CommandQueue()
    agreement = _make_agreement(world, command_queue, shutdown, run_status.progress)
    make = partial(
        _make_recorder, loaded, (identity, lock), run_status, command_queue, workload, checkpointer, incident,
        saved.window.account,
    )  # fmt: skip
    recorder = _open_recorder(world, RunDirectory(config.data_root), make)
    if resumed is not None:
        recorder.adopt_records(resumed.records, resumed.survivor["points"] if resumed.survivor else ())
    incident.report_to(recorder.event, on_step=states.remove_earlier if states else lambda: None)
    if world.is_main:
        _log_start(recorder, world, workload, run_status, identity)
        _log_weights(recorder, config, None if resumed else weights)
        report_replay(run_status.replay, resumed and resumed.replayed, recorder.event)
        saved.data.report(recorder.event)
    return TrainerComponents(
        world=world,
        run_id=identity.run_id,
        directory=RunDirectory(config.data_root),
        workload=workload,
        batch_stream=BatchStream(world, workload, run_status.progress, shutdown.waiting),
        stepper=saved.stepper,
        controller=saved.controller,
        metrics_buffer=saved.metrics_buffer,
        nonfinite_steps=saved.nonfinite_steps,
        window=saved.window,
        snapshot_builder=saved.snapshot_builder,
        agreement=agreement,
        recorder=recorder,
        checkpointer=checkpointer,
        marker=marker,
        shutdown=shutdown,
        run_status=run_status,
        data=saved.data,
        resume_point=resume_point,
        incident=incident,
        survivor=Survivor(world, states, checkpointer, run_status, recorder, saved.stepper, resume_point),
    )


def _begin(
    world: World,
    saved: SavedComponents,
    checkpointer: Checkpointer,
    resumed: Resumed | None,
    incident: Incident,
    weights: InitialWeights | None,
    replay: Replay | None,
) -> None:
    """Begin at the restored state, or without one with `weights`: replay, network and incident take note."""
    run_status = saved.run_status
    run_status.replay = replay or Replay()
    begin_replay(world, run_status.replay, run_status.progress, resumed and resumed.replayed, checkpointer.steps)
    if weights is not None and resumed is None:
        saved.stepper.begin_with(weights.tensors)
    incident.resumed_from(run_status.progress.step, resumed and resumed.survivor)


def _make_saved_components(
    world: World, config: RunConfig, identity: RunIdentity, workload: Workload, marker: StageMarker
) -> SavedComponents:
    stepper = _make_stepper(world, config, workload, marker)
    run_status = RunStatus(Progress(), LiveSettings(config, {}))
    controller = Controller.of(run_status.config, has_perceptual=workload.has_perceptual)
    nonfinite_steps = NonFiniteSteps()
    return SavedComponents(
        run_status=run_status,
        stepper=stepper,
        controller=controller,
        metrics_buffer=StepMetricsBuffer(world.device),
        nonfinite_steps=nonfinite_steps,
        window=MetricsWindow(world),
        snapshot_builder=SnapshotBuilder(world, identity, workload, stepper, controller, nonfinite_steps, run_status),
        data=DataContinuity(data_identity(workload), run_status.progress, controller),
    )


def _make_stepper(world: World, config: RunConfig, workload: Workload, marker: StageMarker) -> Stepper:
    """Build the stepper with equal weights on all ranks, then seed the random generators of each rank differently."""
    seed_rng(config.seed)
    stepper = Stepper(world, config, workload, marker)
    seed_rng(config.seed + 1 + world.rank)
    return stepper


def _make_checkpointer(world: World, saved: SavedComponents) -> Checkpointer:
    run_status, config = saved.run_status, saved.run_status.config
    folder = CheckpointFolder(RunDirectory(config.data_root).checkpoints)
    keep, fenced = lambda: run_status.config.keep_checkpoints, {"stepper": saved.stepper}
    return Checkpointer(world, folder, keep, shape_of(config), saved.by_key(), fenced)


def _make_agreement(
    world: World, command_queue: CommandQueue, shutdown: ShutdownRequest, progress: Progress
) -> RankAgreement:
    return RankAgreement(world, command_queue, lambda: shutdown.is_set, first_check_step=progress.step + 1)


def _open_recorder(world: World, directory: RunDirectory, make: Callable[[], "Recorder"]) -> RunRecorder:
    """Start rank 0's recorder; return a no-op recorder on other ranks. All ranks raise the same `UserError`."""
    recorder: Recorder | None = None
    problem: UserError | None = None
    if world.is_main:
        try:
            recorder = make()
        except UserError as error:
            problem = error
        except OSError as error:
            problem = unwritable(directory, error)
    world.raise_together(problem)
    return recorder or NullRecorder()


def _make_recorder(
    loaded: LoadedConfig,
    claimed: ClaimedRun,
    run_status: RunStatus,
    command_queue: CommandQueue,
    workload: Workload,
    checkpointer: Checkpointer,
    incident: Incident,
    account: TimeAccount,
) -> "Recorder":
    # Imported here, because they import SQLAlchemy, which no other rank needs.
    from ddp.control.command_poller import CommandPoller
    from ddp.recording.recorder import Recorder
    from ddp.recording.registration import RunRegistration, register_run
    from ddp.recording.trainer_stats import TrainerStatsSource
    from service.run.records.keeping.automatic import KeepingRule, start_keeping

    config, directory, progress = loaded.config, RunDirectory(loaded.config.data_root), run_status.progress
    identity, lock = claimed
    run_id, settings = identity.run_id, write_config(directory, loaded, identity)
    registration = RunRegistration(
        run_id, settings, progress.step, progress.last_recorded_step, is_archive=directory.holds_archive,
        about={"began_at": account.began_at, **incident.about_start()},
    )  # fmt: skip
    store, previous = register_run(config, registration)
    registration.archive_files(directory)
    incident.note_reached(registration.reached_step)
    reads = (checkpointer.stats, lambda: account.read(progress.step))
    stats = TrainerStatsSource(directory, previous or {}, workload.has_perceptual, *reads).current
    tracker, folder = open_tracker(config, directory, os.environ, run_id), RunFolder(directory, identity)
    poller = CommandPoller(store, run_id, command_queue, registration.owner.token)
    recorder = Recorder(store, directory, run_id, poller, other_stats=stats, tracker=tracker, registration=registration)
    recorder.watch_directory(lock, folder, checkpointer.relocate)
    if previous is None:
        recorder.register_when_reachable(registration.in_store)
    recorder.mark_step(progress.step)
    recorder.publish_settings(run_status.live)
    recorder.start()
    start_keeping(directory.root, KeepingRule(config.pack_records, config.keep_records_every, config.keep_records))
    return recorder


def _log_start(
    recorder: RunRecorder, world: World, workload: Workload, run_status: RunStatus, identity: RunIdentity
) -> None:
    progress = run_status.progress
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
    details = {"step": progress.step, "world_size": world.size, "branch_id": progress.branch}
    changes = run_status.live.state()["changes"]
    recorder.event("started", {**details, "changes": changes, "provenance": identity.provenance})


def _log_weights(recorder: RunRecorder, config: RunConfig, weights: InitialWeights | None) -> None:
    if weights is not None:
        logger.info("%s", weights.sentence)
        recorder.event("initial weights", {"init_from": weights.source, "sentence": weights.sentence})
    elif config.init_from:
        logger.info("INIT_FROM %s is ignored, because the run goes on from its own checkpoint.", config.init_from)
