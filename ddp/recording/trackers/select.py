"""Selection of the tracker by settings, and the check for the packages that it needs."""

from collections.abc import Mapping
from importlib.util import find_spec

from ddp.distributed.world import World
from ddp.recording.trackers.base import Tracker
from ddp.recording.trackers.combined import CombinedTracker
from service.config.settings import RunConfig
from service.errors import UserError
from service.run.directory import RunDirectory

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


def open_tracker(config: RunConfig, directory: RunDirectory, environment: Mapping[str, str]) -> Tracker:
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
    return trackers[0] if len(trackers) == 1 else CombinedTracker(trackers)
