"""Builds the parts of one rank's trainer from settings, in the order in which they need each other."""

import hashlib
import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from logging.handlers import QueueListener
from typing import Any

import torch

from ddp.adaptive import Controller
from ddp.checkpoint import CheckpointFolder
from ddp.control import Control, Inbox
from ddp.logs import also_to_file
from ddp.progress import Progress
from ddp.recorder import Recorder
from ddp.saving import Saver
from ddp.schedule import Schedule
from ddp.signals import LeaveRequest
from ddp.silence import SilentRecorder
from ddp.stepper import Stepper
from ddp.trainer import Parts
from ddp.workload import Workload, load_workload
from ddp.world import World
from service.config import LoadedConfig
from service.errors import DatasetError, RunDirectoryError, UserError
from service.run_directory import Claim, RunDirectory, claim, write_config
from service.settings import RunConfig
from service.store import Store, StoreUnavailableError

SHAPE = ("workload", "n_feats", "n_blocks", "n_frames", "scale")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """How a person asked to start."""

    loaded: LoadedConfig
    resume: bool
    fresh: bool


@contextmanager
def possession(world: World, start: Start, listener: QueueListener) -> Iterator[str]:
    """Hold the run directory: rank 0 claims it, every rank learns the run's id, or the same error."""
    directory = RunDirectory(start.loaded.config.data_root)
    claimed: Claim | None = None
    problem: UserError | None = None
    if world.is_main:
        try:
            claimed = claim(directory, resume=start.resume, fresh=start.fresh)
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


def build_parts(world: World, start: Start, run_id: str, leave: LeaveRequest, workload: Workload) -> Parts:
    """Network, optimizer, checkpoint and recorder; resumes when the run directory holds a saved state."""
    config = start.loaded.config
    directory = RunDirectory(config.data_root)
    _seed(config.seed)
    stepper = Stepper(world, config, workload.build_model(), workload.build_loss())
    shape = {name: getattr(config, name) for name in SHAPE}
    saver = Saver(world, CheckpointFolder(directory.checkpoints), stepper, shape)
    progress = saver.restore() or Progress()
    inbox = Inbox()
    control = Control(world, inbox, lambda: leave.is_set, first_check_step=progress.step + 1)
    recorder = _open_recorder(world, start, run_id, progress, inbox)
    if world.is_main:
        _say_start(recorder, world, workload, progress)
    return Parts(
        world=world,
        config=config,
        run_id=run_id,
        workload=workload,
        stepper=stepper,
        controller=Controller.of(config, has_perceptual=workload.has_perceptual),
        schedule=Schedule.of(config),
        control=control,
        recorder=recorder,
        saver=saver,
        progress=progress,
    )


def _open_recorder(
    world: World, start: Start, run_id: str, progress: Progress, inbox: Inbox
) -> Recorder | SilentRecorder:
    """Rank 0's recorder at work; silence elsewhere. Raises `RunDirectoryError` on every rank when it cannot begin."""
    recorder: Recorder | None = None
    problem: UserError | None = None
    if world.is_main:
        try:
            recorder = _make_recorder(start.loaded, run_id, progress, inbox)
        except UserError as error:
            problem = error
        except OSError as error:
            problem = _unwritable(RunDirectory(start.loaded.config.data_root), error)
    world.raise_together(problem)
    return recorder or SilentRecorder()


def _unwritable(directory: RunDirectory, error: OSError) -> RunDirectoryError:
    return RunDirectoryError(f"DATA_ROOT {directory.root} cannot be written ({error.strerror}); make room there.")


def _make_recorder(loaded: LoadedConfig, run_id: str, progress: Progress, inbox: Inbox) -> Recorder:
    directory = RunDirectory(loaded.config.data_root)
    store = _open_store(directory, run_id, write_config(directory, loaded), progress)
    for path in directory.archive_records_after(progress.step):
        logger.info("%s lies beyond the resumed step %d and was moved to archive/.", path.name, progress.step)
    recorder = Recorder(store, directory, run_id, inbox)
    recorder.mark_step(progress.step)
    recorder.start()
    return recorder


def _open_store(directory: RunDirectory, run_id: str, settings: dict[str, Any], progress: Progress) -> Store:
    try:
        store = Store(directory.store, create=True, keep_open=True)
        store.open_run(run_id, settings)
        store.forget_after(run_id, progress.step)
    except StoreUnavailableError as error:
        raise RunDirectoryError(
            f"The store cannot be opened ({error}); free it, or move {directory.store.name} away: records are safe."
        ) from None
    return store


def _say_start(recorder: Recorder | SilentRecorder, world: World, workload: Workload, progress: Progress) -> None:
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


def _seed(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)


def _fingerprint(workload: Workload) -> str:
    names = "\n".join([str(workload.sample_count), *workload.validation_images.names])
    return hashlib.sha256(names.encode()).hexdigest()
