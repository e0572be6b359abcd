"""Where a start continues: at the state that a rank left when another one died, or at the newest checkpoint."""

import logging
from typing import Any, NamedTuple

from ddp.adaptive.controller import Controller
from ddp.checkpoint.checkpointer import Checkpointer
from ddp.checkpoint.folder import LoadedState
from ddp.checkpoint.survivor_states import SurvivorStates
from ddp.distributed.world import World
from ddp.step.resume_point import ResumePoint
from ddp.training.recovery.survivor import KEY
from ddp.training.run_status import RunStatus
from service.config.live_settings import LiveSettings
from service.config.settings import RunConfig
from service.errors import RunDirectoryError, UserError
from service.run.directory import RunDirectory
from service.run.identity import RunIdentity
from service.run.record import Record

logger = logging.getLogger(__name__)


class Resumed(NamedTuple):
    """What a state holds beside that of the components.

    `records` may not be on disk. `survivor` is what the rank that left the state says of it; None for a checkpoint.
    `replayed` is what a replay has saved of itself.
    """

    records: list[Record]
    survivor: dict[str, Any] | None
    replayed: dict[str, Any] | None


class Resumption:
    """Restores the state with which a start begins. All ranks call every method."""

    def __init__(self, world: World, checkpointer: Checkpointer, identity: RunIdentity, run_status: RunStatus) -> None:
        self._world = world
        self._checkpointer = checkpointer
        self._identity = identity
        self._run_status = run_status

    def restore(
        self, states: SurvivorStates | None, controller: Controller, resume_point: ResumePoint
    ) -> Resumed | None:
        """Restore the newest state, if there is one.

        Raises `RunDirectoryError` on all ranks if there is none although the run has saved some.
        """
        found = self._left_by_survivor(states) or self._checkpointer.newest()
        if found is None:
            _require_no_lost_checkpoints(self._world, self._run_status.config, self._identity)
            return None
        extra = self._checkpointer.restore(found)
        live, sentences = LiveSettings.resumed(self._run_status.live.start, extra["live"])
        self._run_status.live = live
        controller.configure(live.config, live.pins)
        if self._world.is_main:
            for sentence in sentences:
                logger.info("%s", sentence)
        if KEY in extra:
            return self._resumed(extra, resume_point)
        return Resumed(extra["records"], None, extra.get("replay"))

    def _left_by_survivor(self, states: SurvivorStates | None) -> LoadedState | None:
        """Load the newest state that a rank has left, if this start follows a failure; say so if there is none."""
        if self._world.restarts == 0:
            return None
        found = None if states is None else self._checkpointer.left_by_survivor(states)
        if self._world.is_main and found is None:
            where = "on several machines and on GPUs none can" if states is None else "the newest checkpoint serves"
            logger.warning("No rank has left a state after the failure that can be used: %s.", where)
        return found

    def _resumed(self, extra: dict[str, Any], resume_point: ResumePoint) -> Resumed:
        survivor: dict[str, Any] = extra[KEY]
        resume_point.restore(survivor)
        step = self._run_status.progress.step
        if self._world.is_main:
            logger.info("Rank %d has left its state: all ranks go on after step %d.", survivor["rank"], step)
        # Records up to the oldest checkpoint may have been thinned out since they were written.
        oldest = self._checkpointer.oldest_step()
        records = [record for record in extra["records"] if record["step_current"] > oldest]
        return Resumed(records, survivor, extra["replay"])


def _require_no_lost_checkpoints(world: World, config: RunConfig, identity: RunIdentity) -> None:
    """Raise `RunDirectoryError` on all ranks if the run, which has no checkpoint, has saved some.

    Beginning anew would repeat all its steps, perhaps because a disk is not mounted. A run that ended before its first
    checkpoint has none to lose, and may begin again.
    """
    problem: UserError | None = None
    if world.is_main:
        # Imported here, because it imports SQLAlchemy, which no other rank needs.
        from ddp.recording.registration import saved_checkpoint

        if (step := saved_checkpoint(config, identity)) is not None:
            problem = RunDirectoryError(
                f"{RunDirectory(config.data_root).checkpoints} holds no checkpoint, but run {identity.run_id} has "
                f"saved some, the last at step {step}: mount or restore that folder, or start with --fresh to archive "
                "this run and begin another."
            )
    world.raise_together(problem)
