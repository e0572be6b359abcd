"""Review of a block of steps once their values are on the host: updates the controller, rolls back bad steps."""

import logging
from collections.abc import Sequence

from ddp.adaptive.controller import Controller
from ddp.adaptive.types import Observation
from ddp.distributed.world import World
from ddp.metrics.step_metrics import StepMetrics, StepMetricsBuffer
from ddp.recording.null_recorder import RunRecorder
from ddp.step.nonfinite import NonFiniteSteps
from ddp.training.checkpoints import Checkpoints
from ddp.training.recovery.rollback import Rollback
from ddp.training.run_status import RunStatus
from ddp.validation import record_values
from service.errors import TrainingFailedError

ROLLBACK_LR_FACTOR = 0.5
MAX_FRUITLESS_ROLLBACKS = 5
"""Maximum number of automatic rollbacks without a finite step beyond the first bad one; then the run fails."""

logger = logging.getLogger(__name__)


class NonFiniteGuard:
    """Reports skipped steps, and rolls the run back when too many occur in a row."""

    def __init__(
        self,
        world: World,
        nonfinite_steps: NonFiniteSteps,
        run_status: RunStatus,
        recorder: RunRecorder,
        checkpoints: Checkpoints,
        rollback: Rollback,
    ) -> None:
        self._world = world
        self._nonfinite_steps = nonfinite_steps
        self._run_status = run_status
        self._recorder = recorder
        self._checkpoints = checkpoints
        self._rollback = rollback

    def check(self, steps: Sequence[StepMetrics]) -> bool:
        """Report the skipped steps among `steps`; return whether they caused a rollback.

        Raises `TrainingFailedError` after too many rollbacks, or if no checkpoint precedes the bad steps.
        """
        skipped = self._nonfinite_steps.update(steps)
        if not skipped:
            return False
        if self._world.is_main:
            numbers = ", ".join(map(str, skipped))
            logger.warning("Skipped, because the loss or a gradient was not finite: step %s.", numbers)
        self._recorder.event("not finite", {"steps": skipped, "in_a_row": self._nonfinite_steps.in_a_row})
        if self._nonfinite_steps.in_a_row < self._run_status.config.nonfinite_limit:
            return False
        self._roll_back()
        return True

    def _roll_back(self) -> None:
        """Restore the newest checkpoint before the bad steps, with a lower learning rate."""
        start = self._nonfinite_steps.streak_start or 1
        reason = f"{self._nonfinite_steps.in_a_row} steps in a row, from step {start} on, were not finite"
        if self._nonfinite_steps.note_rollback(start) > MAX_FRUITLESS_ROLLBACKS:
            raise TrainingFailedError(
                f"{reason}, after {MAX_FRUITLESS_ROLLBACKS} rollbacks, each at half the learning rate before: look at "
                "the data of these steps, or lower MAX_LR, and resume."
            )
        found = self._checkpoints.newest(at_most=start - 1)
        if found is None:
            raise TrainingFailedError(
                f"{reason}, and there is no checkpoint from before them: lower MAX_LR, or save more often "
                "(CHECKPOINT_EVERY), and start with --fresh."
            )
        self._rollback.run(found, reason, ROLLBACK_LR_FACTOR)


class BlockReview:
    """Reads the values of a block of steps, delayed by one block, and passes them to the controller."""

    def __init__(
        self,
        metrics_buffer: StepMetricsBuffer,
        guard: NonFiniteGuard,
        controller: Controller,
        run_status: RunStatus,
        recorder: RunRecorder,
    ) -> None:
        self._metrics_buffer = metrics_buffer
        self._guard = guard
        self._controller = controller
        self._run_status = run_status
        self._recorder = recorder

    def run_if_due(self) -> None:
        """Process the last received block, if the next step begins a new block.

        Raises `TrainingFailedError` when too many steps were not finite.
        """
        progress = self._run_status.progress
        if progress.step == 0 or progress.step % self._run_status.config.adapt_every:
            return
        steps = self._metrics_buffer.exchange()
        if self._guard.check(steps):
            self.run_if_due()  # the restored step may be a block boundary too
            return
        self._controller.advance([_observation(step) for step in steps], progress.step)
        for change in self._controller.take_changes():
            logger.info("Adaptive, step %d: %s (%s).", progress.step, record_values.change_text(change), change.reason)
            self._recorder.event(change.kind, {**change.details, "reason": change.reason})


def _observation(step: StepMetrics) -> Observation:
    return Observation(step.step, step.terms, step.sharpness, step.grad_norm)
