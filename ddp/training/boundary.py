"""Actions at a step boundary, by schedule or by command: validate, save, pause, stop.

All ranks call the same methods at the same step. None of the actions changes the result of the training.
"""

import logging

from ddp.checkpoint.folder import Reason
from ddp.distributed.world import World
from ddp.recording.null_recorder import RunRecorder
from ddp.training.checkpoints import Checkpoints
from ddp.training.metrics_publisher import MetricsPublisher
from ddp.training.passes.validation_pass import ValidationPass
from ddp.training.run_status import RunStatus
from ddp.watchdog.stages import Stage, StageMarker
from service.commands import Command
from service.errors import TrainingFailedError
from service.run.state import RunState

logger = logging.getLogger(__name__)


class StepBoundary:
    """Actions of one rank at a step boundary."""

    def __init__(
        self,
        world: World,
        run_status: RunStatus,
        recorder: RunRecorder,
        metrics: MetricsPublisher,
        validation: ValidationPass,
        checkpoints: Checkpoints,
        marker: StageMarker,
    ) -> None:
        self._world = world
        self._run_status = run_status
        self._recorder = recorder
        self._metrics = metrics
        self._validation = validation
        self._checkpoints = checkpoints
        self._marker = marker

    # By schedule

    def begin(self) -> None:
        """Publish the start of the run, and repeat a validation that the previous start did not complete."""
        self._recorder.set_state(RunState.PAUSED if self._run_status.is_paused else RunState.RUNNING)
        self._metrics.publish_snapshot()
        if self._run_status.progress.owes_validation:
            self._validate("schedule")

    def run_due_actions(self) -> None:
        """Run the log point, the validation and the checkpoint that are due at this step."""
        run_status, config = self._run_status, self._run_status.config
        step = run_status.progress.step
        self._checkpoints.prepare()
        if step % config.log_every == 0:
            self._metrics.log_point()
        if step >= config.max_steps:
            self._validate("final")
            return
        if step % config.val_step_every == 0:
            self._validate("schedule")
        if run_status.ending is None and step % config.checkpoint_every == 0:
            self._checkpoints.save(Reason.SCHEDULE)

    def finish(self) -> None:
        """Validate this step unless it has a record, save the final checkpoint, and mark the run as finished."""
        run_status = self._run_status
        self._validate("final")
        if run_status.ending is not None:
            return
        self._marker.enter(Stage.LEAVING)
        if self._save_last(Reason.FINAL, RunState.FINISHED) is None:
            logger.info("Training is finished: step %d of %d.", run_status.progress.step, run_status.config.max_steps)

    def _validate(self, trigger: str) -> None:
        if self._run_status.progress.validated_step != self._run_status.progress.step:
            self.validate_then_save(trigger)

    # By schedule or by command

    def validate_then_save(self, trigger: str, commands: tuple[Command, ...] = ()) -> bool:
        """Validate this step, which must not have a record yet, and save the state if it is the best so far.

        Returns False if a signal interrupted the validation; the run has been saved and stopped then. If an image does
        not fit into memory, saves the state and raises `TrainingFailedError`.
        """
        progress = self._run_status.progress
        if trigger != "manual":
            progress.owes_validation = trigger == "schedule"
        try:
            is_complete = self._validation.run(trigger, commands)
        except TrainingFailedError:  # raised on all ranks
            self._checkpoints.save_and_wait(Reason.LEAVE)
            raise
        if not is_complete:
            self.leave(is_asked_by_signal=True)
            return False
        if trigger == "schedule":
            progress.owes_validation = False
        if not self._is_saved_by_schedule(trigger):
            self._checkpoints.save_if_best()
        return True

    def _is_saved_by_schedule(self, trigger: str) -> bool:
        """Whether the schedule saves this step anyway after a validation with this trigger."""
        is_due = self._run_status.progress.step % self._run_status.config.checkpoint_every == 0
        return trigger == "final" or (trigger == "schedule" and is_due)

    # By command or signal

    def pause(self, wanted: bool) -> None:
        """Pause the run, or resume it."""
        if wanted == self._run_status.is_paused:
            return
        self._run_status.is_paused = wanted
        logger.info("Paused at step %d." if wanted else "Going on at step %d.", self._run_status.progress.step)
        state = RunState.PAUSED if wanted else RunState.RUNNING
        if self._world.is_main:
            self._world.leave_restart_note(state)  # the next start's store may be unreachable
        self._recorder.event("paused" if wanted else "resumed", {})
        self._recorder.set_state(state)
        self._metrics.publish_snapshot()

    def leave(self, *, is_asked_by_signal: bool) -> str | None:
        """Save the state, wait until it is durable, and stop the run; return why it is not on disk, or None."""
        self._run_status.is_leaving = is_asked_by_signal
        step = self._run_status.progress.step
        logger.info("%s at step %d.", "Leaving after a signal" if is_asked_by_signal else "Stopping", step)
        self._metrics.measure()
        self._metrics.publish_snapshot()
        return self._save_last(Reason.LEAVE, RunState.STOPPED)

    def _save_last(self, reason: Reason, ending: RunState) -> str | None:
        """Save the last state and end the run: as `ending`, or as failed if the state is not on disk.

        Returns why it is not, or None.
        """
        run_status = self._run_status
        problem = self._checkpoints.save_last(reason)
        run_status.ending = ending if problem is None else RunState.FAILED
        if problem is not None:
            what = f"{ending} at step {run_status.progress.step}, but the last state is not on disk"
            run_status.unsaved = f"{what}: {problem}; resume once that is mended"
            logger.error("The training is %s.", run_status.unsaved)
        return run_status.unsaved
