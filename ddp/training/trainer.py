"""The training loop of one rank.

    while steps are left and nobody asked to leave:
        every ADAPT_EVERY       look at the steps of the block before: the controller learns, bad steps may roll back
        make a step             control word on its way while the optimizer works
        every LOG_EVERY         log point: one all_reduce, rank 0 hands a snapshot to its recorder
        every VAL_STEP_EVERY    validation: one all_reduce, one record
        every CHECKPOINT_EVERY  checkpoint: copied here, written in the background
        carry out the agreed commands: the same on all ranks; while paused, only this

Every branch that leads to a collective depends on the settings, the step, or a value that all ranks share.
"""

import logging

from ddp.adaptive.types import Observation
from ddp.checkpoint.folder import Reason
from ddp.metrics.step_metrics import StepMetrics
from ddp.step.progress import samples_per_step
from ddp.training import record_values
from ddp.training.boundary import StepBoundary
from ddp.training.command_executor import CommandExecutor
from ddp.training.components import TrainerComponents
from ddp.watchdog.stages import Stage
from service.errors import TrainingFailedError
from service.run.state import RunState

ROLLBACK_LR_FACTOR = 0.5
ROLLBACKS_IN_VAIN = 5
"""Automatic rollbacks without a good step beyond the one that went wrong first, after which the run gives up."""

logger = logging.getLogger(__name__)


class Trainer:
    """One rank's training. `run` returns the state in which the run was left."""

    def __init__(self, parts: TrainerComponents) -> None:
        self._parts = parts
        self._run_status = parts.run_status
        self._boundary = StepBoundary(parts)
        self._command_executor = CommandExecutor(parts, self._boundary)

    def run(self) -> RunState:
        """Train until MAX_STEPS, a stop, or a signal."""
        run_status = self._run_status
        self._parts.recorder.set_state(RunState.PAUSED if run_status.is_paused else RunState.RUNNING)
        self._boundary.show()
        self._catch_up()
        while run_status.ending is None and run_status.progress.step < run_status.config.max_steps:
            self.advance()
        if run_status.ending is None:
            self._finish()
        assert run_status.ending is not None
        return run_status.ending

    def advance(self) -> None:
        """One step and everything that is due at its boundary."""
        self._adapt()
        self._make_step()
        self._do_what_is_due()
        if self._run_status.ending is None:
            self._command_executor.run_agreed()

    def _catch_up(self) -> None:
        """What the boundary at which the run was left still owes: its validation, and standing still while paused."""
        self._parts.window.clock.restart()
        if self._run_status.progress.owes_validation:
            self._validate("schedule")
        if self._run_status.is_paused and self._run_status.ending is None:
            self._command_executor.run_agreed()

    # One step

    def _make_step(self) -> None:
        parts, progress = self._parts, self._run_status.progress
        step = progress.step + 1
        parts.marker.enter(Stage.DATA, step)
        learning_rate = parts.controller.learning_rate(progress.step)
        phase = parts.controller.phase(progress.step)
        row = parts.stepper.make_step(
            parts.batch_stream,
            parts.controller.weights,
            learning_rate,
            parts.controller.grad_clip,
            parts.window,
            before_update=lambda: parts.control.send(step),
        )
        parts.window.add(row)
        parts.metrics_buffer.append(row, step)
        self._parts.snapshot_builder.note_step(learning_rate, phase, row)
        progress.step = step
        progress.samples_seen += samples_per_step(self._run_status.config, parts.world.size)
        parts.recorder.mark_step(step)

    def _adapt(self) -> None:
        """Before a step that begins a new block: learn from the block that has arrived meanwhile."""
        progress = self._run_status.progress
        if progress.step == 0 or progress.step % self._run_status.config.adapt_every:
            return
        rows = self._parts.metrics_buffer.exchange()
        if self._see_bad_steps(rows):
            self._adapt()  # the state that was taken over may stand at such a boundary itself
            return
        self._parts.controller.advance([_observation(row) for row in rows], progress.step)
        for change in self._parts.controller.take_changes():
            logger.info("Adaptive, step %d: %s (%s).", progress.step, record_values.change_text(change), change.reason)
            self._parts.recorder.event(change.kind, {**change.details, "reason": change.reason})

    # Numbers going bad

    def _see_bad_steps(self, rows: list[StepMetrics]) -> bool:
        """Say which steps were skipped; whether there were so many in a row that the run was rolled back."""
        skipped = self._parts.nonfinite_steps.update(rows)
        if not skipped:
            return False
        if self._parts.world.is_main:
            steps = ", ".join(map(str, skipped))
            logger.warning("Skipped, because the loss or a gradient was not finite: step %s.", steps)
        self._parts.recorder.event("not finite", {"steps": skipped, "in_a_row": self._parts.nonfinite_steps.in_a_row})
        if self._parts.nonfinite_steps.in_a_row < self._run_status.config.nonfinite_limit:
            return False
        self._go_back()
        return True

    def _go_back(self) -> None:
        """Take over the last state from before the bad steps, at a lower learning rate."""
        nonfinite_steps = self._parts.nonfinite_steps
        began = nonfinite_steps.streak_start or 1
        reason = f"{nonfinite_steps.in_a_row} steps in a row, from step {began} on, were not finite"
        if nonfinite_steps.note_rollback(began) > ROLLBACKS_IN_VAIN:
            raise TrainingFailedError(
                f"{reason}, after {ROLLBACKS_IN_VAIN} rollbacks, each at half the learning rate before: look at the "
                "data of these steps, or lower MAX_LR, and resume."
            )
        self._parts.checkpointer.drain()
        found = self._parts.checkpointer.newest(at_most=began - 1)
        if found is None:
            raise TrainingFailedError(
                f"{reason}, and there is no checkpoint from before them: lower MAX_LR, or save more often "
                "(CHECKPOINT_EVERY), and start with --fresh."
            )
        self._boundary.roll_back(found, reason, ROLLBACK_LR_FACTOR)

    # What is due

    def _do_what_is_due(self) -> None:
        run_status, config = self._run_status, self._run_status.config
        step = run_status.progress.step
        if step % config.log_every == 0:
            self._boundary.log()
        if step >= config.max_steps:
            self._validate("final")
            return
        if step % config.val_step_every == 0:
            self._validate("schedule")
        if run_status.ending is None and step % config.checkpoint_every == 0:
            self._boundary.save(Reason.SCHEDULE)

    def _validate(self, trigger: str) -> None:
        """A validation that nobody asked for by a command; a signal during it ends the run here."""
        progress, config = self._run_status.progress, self._run_status.config
        if progress.validated_step == progress.step:
            return
        progress.owes_validation = trigger == "schedule"
        if not self._boundary.validate(trigger):
            self._boundary.leave(is_asked_by_signal=True)
            return
        progress.owes_validation = False
        if trigger == "schedule" and progress.step % config.checkpoint_every:
            self._boundary.save_if_best()

    def _finish(self) -> None:
        """The end of training: a resumed run that had nothing left to do gets its final record too."""
        run_status = self._run_status
        self._validate("final")
        if run_status.ending is not None:
            return
        self._parts.marker.enter(Stage.LEAVING)
        self._boundary.save_and_wait(Reason.FINAL)
        run_status.ending = RunState.FINISHED
        logger.info("Training is finished: step %d of %d.", run_status.progress.step, run_status.config.max_steps)


def _observation(row: StepMetrics) -> Observation:
    return Observation(row.step, row.terms, row.sharpness, row.grad_norm)
