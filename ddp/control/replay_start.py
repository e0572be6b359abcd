"""The start of a replay (REPLAY_FILE): its file read and compared with this run before anything is written."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ddp.control.replay import Replay
from ddp.distributed.world import World
from ddp.step.progress import Progress
from service import __version__
from service.config.loader import plain_values
from service.config.settings import RunConfig
from service.errors import SettingError, UserError
from service.run.records.provenance.replay.comparison import differences
from service.run.records.provenance.replay.file import Position, ReplayFile, read_replay

logger = logging.getLogger(__name__)


def open_replay(world: World, config: RunConfig, about_run: Mapping[str, Any], *, is_new: bool) -> Replay:
    """Read REPLAY_FILE, on every rank the same; without it, a replay of nothing.

    `about_run` is what the trainer knows of this start. A new run stands at step 0. Raises `SettingError` on all ranks.
    """
    found: tuple[ReplayFile, tuple[str, ...]] | None = None
    problem: UserError | None = None
    if world.is_main and config.replay_file:
        try:
            found = _read(config, about_run)
            if is_new:
                Replay(found[0]).begin(Position(0, 0), None, frozenset())
        except UserError as error:
            problem = error
    world.raise_together(problem)
    found = world.from_main(found)
    return Replay() if found is None else Replay(*found)


def _read(config: RunConfig, about_run: Mapping[str, Any]) -> tuple[ReplayFile, tuple[str, ...]]:
    try:
        file = read_replay(Path(config.replay_file).expanduser())
    except UserError as error:
        raise SettingError(f"REPLAY_FILE: {error}") from None
    here = {**about_run, "settings": plain_values(config), "leitstand": __version__}
    return file, tuple(differences(file.made_with, here))


def begin_replay(
    world: World, replay: Replay, progress: Progress, saved: Mapping[str, Any] | None, steps: Callable[[], list[int]]
) -> None:
    """Begin at the restored state, of which `saved` is the part that the replay wrote; `steps()` are checkpoints.

    Raises `SettingError` on all ranks if something cannot be repeated from here.
    """
    existing: frozenset[int] = world.from_main(frozenset(steps()) if world.is_main else frozenset())
    replay.begin(Position(progress.branch, progress.step), saved, existing)


def report_replay(
    replay: Replay, saved: Mapping[str, Any] | None, event: Callable[[str, Mapping[str, Any]], Any]
) -> None:
    """Log what is repeated, and what is not here as it was. For rank 0."""
    details = replay.begin_details()
    if details is None:
        if saved is not None and saved.get("ended") is None:
            logger.warning("This run was a replay when it was saved; without REPLAY_FILE it is one no more.")
        return
    logger.log(
        logging.WARNING if details["differences"] else logging.INFO, "Replay: %s.", details["reason"].rstrip(".")
    )
    event("replay", details)
