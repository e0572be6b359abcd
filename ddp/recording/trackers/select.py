"""What only some settings ask for, and the packages that it needs: looked for before anything is written."""

from importlib.util import find_spec

from ddp.distributed.world import World
from ddp.recording.trackers.base import Tracker
from service.config.settings import RunConfig
from service.errors import UserError
from service.run.directory import RunDirectory

TENSORBOARD_FOLDER = "tensorboard"


def require_extras(world: World, config: RunConfig) -> None:
    """Raise `UserError` on all ranks alike when rank 0, which needs it, lacks a package that a setting asks for."""
    wanted = [name for name in ("TENSORBOARD", "TENSORBOARD_IMAGES") if getattr(config, name.lower())]
    problem: UserError | None = None
    if world.is_main and wanted and find_spec("tensorboardX") is None:
        problem = UserError(
            f"{' and '.join(wanted)} {'is' if len(wanted) == 1 else 'are'} on, but tensorboardX is not installed; "
            "install the extra leitstand[tensorboard], or switch it off."
        )
    world.raise_together(problem)


def open_tracker(config: RunConfig, directory: RunDirectory) -> Tracker:
    """What the settings ask for besides Leitstand's own curves."""
    if not (config.tensorboard or config.tensorboard_images):
        return Tracker()
    from ddp.recording.trackers.tensorboard import TensorBoard  # only who asks for it needs its package

    folder = directory.root / TENSORBOARD_FOLDER
    return TensorBoard(folder, has_scalars=config.tensorboard, has_pictures=config.tensorboard_images)
