"""Selection of the trackers by settings, and the check for the package that TensorBoard needs."""

from collections.abc import Mapping
from importlib.util import find_spec

from ddp.distributed.world import World
from ddp.recording.trackers.base import Tracker
from ddp.recording.trackers.combined import CombinedTracker
from service.config.loader import plain_values
from service.config.settings import RunConfig, tracker_names
from service.errors import UserError
from service.run.directory import RunDirectory
from service.run.records.trackers.tracked_run import TrackedRun

TENSORBOARD_FOLDER = "tensorboard"
KUBEFLOW_PREFIX = "KUBEFLOW_TRAINER_SERVER_"
"""Beginning of the variables of a TrainJob."""


def require_extras(world: World, config: RunConfig) -> None:
    """Raise `UserError` on all ranks if rank 0 lacks a package that a setting requires."""
    wanted = [name for name in ("TENSORBOARD", "TENSORBOARD_IMAGES") if getattr(config, name.lower())]
    problem: UserError | None = None
    if world.is_main and wanted and find_spec("tensorboardX") is None:
        problem = UserError(
            f"{' and '.join(wanted)} {'is' if len(wanted) == 1 else 'are'} on, but tensorboardX is not installed; "
            "install the extra leitstand[tensorboard], or switch it off."
        )
    world.raise_together(problem)


def open_tracker(config: RunConfig, directory: RunDirectory, environment: Mapping[str, str], run_id: str) -> Tracker:
    """Return the trackers that settings and scheduler select, as one; a no-op tracker if they select none."""
    trackers: list[Tracker] = []
    if any(name.startswith(KUBEFLOW_PREFIX) for name in environment):
        from ddp.recording.trackers.kubeflow import StatusServer, TrainJobProgress  # imports requests

        if (server := StatusServer.of(environment)) is not None:
            trackers.append(TrainJobProgress(server))
    if config.tensorboard or config.tensorboard_images:
        from ddp.recording.trackers.tensorboard import TensorBoard  # an optional dependency

        folder = directory.root / TENSORBOARD_FOLDER
        trackers.append(TensorBoard(folder, has_scalars=config.tensorboard, has_images=config.tensorboard_images))
    if names := tracker_names(config):
        from ddp.recording.trackers.library_tracker import LibraryTracker

        settings = {key: str(text) for key, text in plain_values(config).items()}
        run = TrackedRun(run_id, 0, directory.root.resolve().name, "", settings, facts={}, rollbacks=(), from_step=0)
        trackers += [LibraryTracker(name, config.tracker_experiment, run, config.tracker_end_seconds) for name in names]
    return trackers[0] if len(trackers) == 1 else CombinedTracker(trackers)
