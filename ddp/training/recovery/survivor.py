"""A rank that lives when another one has died: it leaves its last finished step for the next start of all ranks."""

import logging
import os
import time
from typing import Any

from ddp.checkpoint.checkpointer import Checkpointer
from ddp.checkpoint.survivor_states import SurvivorStates
from ddp.distributed.environment import RankEnvironment
from ddp.distributed.world import CollectiveTimeoutError, World, is_peer_loss
from ddp.recording.null_recorder import NullRecorder, RunRecorder
from ddp.step.resume_point import ResumePoint
from ddp.step.stepper import Stepper
from ddp.training.run_status import RunStatus
from service.launcher.ranks.shared_states import remove_abandoned, states_folder

KEY = "survivor"
"""Key in `extra` of a state that a rank has left; no checkpoint has it."""

logger = logging.getLogger(__name__)


def survivor_states(environment: RankEnvironment, world: World, run_id: str) -> SurvivorStates | None:
    """Return where ranks leave states; None where none can: on GPUs, on several machines, without shared memory.

    On a GPU a collective that misses a rank blocks the device, and with it the weights.
    """
    is_local = environment.local_size == world.size > 1
    folder = states_folder(run_id, os.environ) if is_local and world.device.type == "cpu" else None
    if folder is None:
        return None
    if world.is_main:
        remove_abandoned()
    return SurvivorStates(folder, world.restarts)


class Survivor:
    """Leaves this rank's state when another rank has died."""

    def __init__(
        self,
        world: World,
        states: SurvivorStates | None,
        checkpointer: Checkpointer,
        run_status: RunStatus,
        recorder: RunRecorder,
        stepper: Stepper,
        resume_point: ResumePoint,
    ) -> None:
        self._world = world
        self._states = states
        self._checkpointer = checkpointer
        self._run_status = run_status
        self._recorder = recorder
        self._stepper = stepper
        self._resume_point = resume_point

    def leave_state(self, error: BaseException) -> None:
        """Leave the state of the last finished step if `error` says that another rank is gone and all start again.

        A problem is logged: then the state of another rank serves, or the newest checkpoint.
        """
        is_survivor = isinstance(error, CollectiveTimeoutError) or is_peer_loss(error)
        if self._states is None or not is_survivor or self._world.restarts_left <= 0:
            return
        rank, step = self._world.rank, self._run_status.progress.step
        if not self._resume_point.is_whole:
            logger.warning("Rank %d leaves no state: it was changing it when another rank ended.", rank)
            return
        try:
            if self._states.leave(rank, step, self._state()):
                logger.info("Rank %d leaves its state of step %d to the next start.", rank, step)
        except (OSError, TypeError) as problem:
            logger.warning("Rank %d could not leave its state of step %d: %s.", rank, step, problem)

    def _state(self) -> dict[str, Any]:
        """Return the state of the last finished step. Generators are left out: every step seeds its own."""
        self._stepper.discard_step()
        who, recorder = {"rank": self._world.rank, "left_at": time.time()}, self._recorder
        points = recorder.unsaved_points() if isinstance(recorder, NullRecorder) else []  # rank 0 still writes its own
        survivor = {**who, "points": points, **self._resume_point.state()}
        live, records = self._run_status.live.state(), recorder.unsaved_records()
        replay = self._run_status.replay.state_before_current()
        return self._checkpointer.state([], {"live": live, "records": records, "replay": replay, KEY: survivor})
