"""The training loop of one rank.

    while steps are left and no stop was requested:
        every ADAPT_EVERY       review the previous block of steps: update the controller, roll back if too many failed
        make a step             the control word is exchanged while the optimizer works
        every LOG_EVERY         log point: one all_reduce, rank 0 passes a snapshot to its recorder
        every VAL_STEP_EVERY    validation: one all_reduce, one record
        every CHECKPOINT_EVERY  checkpoint: copied here, written in the background
        execute the agreed commands: the same on all ranks; while paused, only this

Every branch that leads to a collective depends on the settings, the step, or a value that all ranks share.
"""

from dataclasses import dataclass

from torch import Tensor

from ddp.adaptive.controller import Controller
from ddp.control.agreement import RankAgreement
from ddp.distributed.rng import StepGenerators
from ddp.metrics.step_metrics import StepMetricsBuffer
from ddp.metrics.window import MetricsWindow
from ddp.recording.null_recorder import RunRecorder
from ddp.step.batches import BatchStream
from ddp.step.resume_point import ResumePoint
from ddp.step.stepper import Stepper
from ddp.training.block_review import BlockReview
from ddp.training.boundary import StepBoundary
from ddp.training.command_executor import CommandLoop
from ddp.training.recovery.incident import Incident
from ddp.training.run_status import RunStatus
from ddp.training.snapshot import SnapshotBuilder
from ddp.watchdog.stages import Stage, StageMarker
from service.run.state import RunState


@dataclass(frozen=True)
class MadeStep:
    """A completed step: number, learning rate, phase of the schedule, and its row (ROW,) on the device."""

    number: int
    learning_rate: float
    phase: str
    row: Tensor


class StepMaker:
    """Makes one optimizer step with the controller's values, and sends the control word during it."""

    def __init__(
        self,
        stepper: Stepper,
        batch_stream: BatchStream,
        controller: Controller,
        agreement: RankAgreement,
        run_status: RunStatus,
        window: MetricsWindow,
        marker: StageMarker,
        generators: StepGenerators,
        resume_point: ResumePoint,
    ) -> None:
        self._stepper = stepper
        self._batch_stream = batch_stream
        self._controller = controller
        self._agreement = agreement
        self._run_status = run_status
        self._window = window
        self._marker = marker
        self._generators = generators
        self._resume_point = resume_point

    def make(self) -> MadeStep:
        """Make the next optimizer step; the caller counts it. Raises `MemoryShortageError`."""
        done, number = self._run_status.progress.step, self._run_status.progress.step + 1
        self._marker.enter(Stage.DATA, number)
        self._generators.begin_step(number)
        learning_rate, phase = self._controller.learning_rate(done), self._controller.phase(done)

        def before_update() -> None:
            self._agreement.send(number)
            self._resume_point.begin_change()

        row = self._stepper.make_step(
            self._batch_stream,
            self._controller.weights,
            learning_rate,
            self._controller.grad_clip,
            self._window,
            before_update=before_update,
        )
        return MadeStep(number, learning_rate, phase, row)


class StepAccounting:
    """Counts steps, and passes the row of each to its consumers. Never waits for the device."""

    def __init__(
        self,
        run_status: RunStatus,
        window: MetricsWindow,
        metrics_buffer: StepMetricsBuffer,
        snapshot_builder: SnapshotBuilder,
        recorder: RunRecorder,
        resume_point: ResumePoint,
        *,
        samples_per_step: int,
    ) -> None:
        self._run_status = run_status
        self._window = window
        self._metrics_buffer = metrics_buffer
        self._snapshot_builder = snapshot_builder
        self._recorder = recorder
        self._resume_point = resume_point
        self._samples_per_step = samples_per_step

    def add(self, made: MadeStep) -> None:
        """Count a completed step."""
        self._window.add(made.row)
        self._metrics_buffer.append(made.row, made.number)
        self._snapshot_builder.note_step(made.learning_rate, made.phase, made.row)
        progress = self._run_status.progress
        progress.step = made.number
        progress.samples_seen += self._samples_per_step
        self._resume_point.end_step()
        self._recorder.mark_step(made.number)


class Trainer:
    """Training loop of one rank over steps and their boundaries."""

    def __init__(
        self,
        run_status: RunStatus,
        window: MetricsWindow,
        review: BlockReview,
        step_maker: StepMaker,
        accounting: StepAccounting,
        boundary: StepBoundary,
        commands: CommandLoop,
        resume_point: ResumePoint,
        incident: Incident,
    ) -> None:
        self._run_status = run_status
        self._window = window
        self._review = review
        self._step_maker = step_maker
        self._accounting = accounting
        self._boundary = boundary
        self._commands = commands
        self._resume_point = resume_point
        self._incident = incident

    def run(self) -> RunState:
        """Train until MAX_STEPS, a stop command or a signal; return the final state of the run."""
        run_status = self._run_status
        with self._window.excluded():
            self._boundary.begin()
            self._finish_boundary()
            if run_status.ending is None:
                self._commands.run_replayed()
            if run_status.is_paused and run_status.ending is None:
                self._commands.run_agreed()
        while run_status.ending is None and run_status.progress.step < run_status.config.max_steps:
            self.advance()
        if run_status.ending is None:
            self._boundary.finish()
        self._commands.finish()
        assert run_status.ending is not None
        return run_status.ending

    def advance(self) -> None:
        """Make one step, and run everything that is due at its boundary."""
        if not self._resume_point.is_reviewed:
            self._review.run_if_due()
            self._resume_point.is_reviewed = True
        self._accounting.add(self._step_maker.make())
        self._window.account.note_step()
        self._incident.note_step()
        self._finish_boundary()
        if self._run_status.ending is None:
            self._commands.run_agreed()

    def _finish_boundary(self) -> None:
        """Run what is due after the last step, unless it was done before: also where a start continues within it."""
        if self._resume_point.is_due and self._run_status.ending is None:
            self._boundary.run_due_actions()
            self._resume_point.is_due = False
