"""The training loop of one rank: step, log, validate, save, and what people asked for, at step boundaries.

    while steps are left and nobody asked to leave:
        make a step                       control word on its way while the optimizer works
        log point    every LOG_EVERY      one all_reduce, rank 0 hands a snapshot to its recorder
        validation   every VAL_STEP_EVERY one all_reduce, one record
        checkpoint   every CHECKPOINT_EVERY
        carry out the agreed commands     the same on all ranks; while paused, only this

Every branch that leads to a collective depends on the settings, the step, or a value that all ranks share.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ddp import report
from ddp.adaptive import Controller
from ddp.checkpoint import checkpoint_name
from ddp.control import Control, Turn
from ddp.progress import Progress, samples_per_step
from ddp.recorder import Recorder
from ddp.saving import Saver
from ddp.schedule import Schedule
from ddp.silence import SilentRecorder
from ddp.stepper import Stepper
from ddp.validation import ValidationResult, validate
from ddp.window import Window, WindowSummary, reset_peak
from ddp.workload import Batch, Share, Workload
from ddp.world import World
from service.commands import Command, CommandState, Kind, Operation
from service.record import Record, build_record, record_name
from service.run_state import RunState
from service.settings import RunConfig

PREVIEW_COUNT = 4

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """What a trainer is made of; built in `ddp/assembly.py`, the same on every rank but for the recorder."""

    world: World
    config: RunConfig
    run_id: str
    workload: Workload
    stepper: Stepper
    controller: Controller
    schedule: Schedule
    control: Control
    recorder: Recorder | SilentRecorder
    saver: Saver
    progress: Progress


class Trainer:
    """One rank's training. `run` returns the state in which the run was left."""

    def __init__(self, parts: Parts) -> None:
        # Parts
        self._parts = parts
        self._world = parts.world
        self._config = parts.config
        self._recorder = parts.recorder
        self._progress = parts.progress
        self._window = Window(parts.world)
        self._places = parts.world.gather((parts.world.host, str(parts.world.device)))
        # What is known so far
        self._summary = WindowSummary()
        self._validation: dict[str, Any] = report.NOT_YET_VALIDATED
        self._peak_gib = 0.0
        self._learning_rate = parts.schedule.learning_rate(parts.progress.step)
        # What the run is doing
        self._paused = False
        self._turn_began_at = 0.0
        self._saved_step: int | None = None
        self._ending: RunState | None = None
        self.is_leaving = False

    def run(self) -> RunState:
        """Train until MAX_STEPS, a stop, or a signal."""
        share = Share(self._world.rank, self._world.size, self._progress.samples_seen)
        batches = self._parts.workload.batches(share)
        self._recorder.set_state(RunState.RUNNING)
        self._recorder.show(self._compose("schedule", None))
        self._window.clock.mark()
        while self._ending is None and self._progress.step < self._config.max_steps:
            self.advance(batches)
        if self._ending is None:
            self._finish()
        assert self._ending is not None
        return self._ending

    def advance(self, batches: Iterator[Batch]) -> None:
        """One step and everything that is due at its boundary."""
        self._make_step(batches)
        self._do_what_is_due()
        self._serve()

    # One step

    def _make_step(self, batches: Iterator[Batch]) -> None:
        progress, parts = self._progress, self._parts
        self._learning_rate = parts.schedule.learning_rate(progress.step)
        parts.stepper.make_step(
            batches,
            self._learning_rate,
            parts.controller,
            self._window,
            before_update=lambda: parts.control.send(progress.step + 1),
        )
        progress.step += 1
        progress.samples_seen += samples_per_step(self._config, self._world.size)
        self._recorder.mark_step(progress.step)

    def _do_what_is_due(self) -> None:
        step = self._progress.step
        if step % self._config.log_every == 0:
            self._log()
        if step == self._config.max_steps:
            self._validate("final")
        elif step % self._config.val_step_every == 0:
            self._validate("schedule")
        if step % self._config.checkpoint_every == 0:
            self._save()

    def _finish(self) -> None:
        """The end of training: a resumed run that had nothing left to do gets its final record too."""
        if self._progress.validated_step != self._progress.step:
            self._validate("final")
        if self._saved_step != self._progress.step:
            self._save()
        self._ending = RunState.FINISHED
        logger.info("Training is finished: step %d of %d.", self._progress.step, self._config.max_steps)

    # Log points

    def _log(self) -> None:
        """Close the window and publish it, if a step fell into it."""
        if self._window.is_empty:
            return
        self._summary, skipped = self._window.close()
        self._peak_gib = self._summary.peak_gib
        if self._summary.skipped:
            self._say_skipped(self._world.gather(skipped))
        snapshot = self._compose("schedule", None)
        if self._world.is_main:
            _log_line(snapshot)
        self._recorder.log_point(self._progress.step, report.curves_of(snapshot, with_validation=False), snapshot)

    def _compose(self, trigger: str, command_id: str | None, *, validating: bool = False) -> Record:
        """Everything known at this step, under the record's keys."""
        parts = self._parts
        position = self._progress.report(self._config, parts.workload.sample_count, self._world.size)
        return build_record(
            position,
            {
                "learning_rate_value": self._learning_rate,
                "lr_phase_name": parts.schedule.phase(max(0, self._progress.step - 1)),
                "vram_usage_gb": self._peak_gib,
            },
            report.losses_of(self._summary),
            parts.controller.report(),
            self._validation,
            report.speed_of(self._summary, self._config, position),
            report.ranks_of(self._summary, self._places),
            parts.stepper.report(),
            report.flags_of(paused=self._paused, validating=validating),
            report.identity_of(parts.run_id, self._world, trigger, command_id),
        )

    def _say_skipped(self, names_by_rank: list[list[str]]) -> None:
        names = sorted({name for names in names_by_rank for name in names})
        logger.warning("%d unreadable training images were skipped: %s", len(names), ", ".join(names[:10]))
        self._recorder.event("skipped", {"images": names})

    # Validation

    def _validate(self, trigger: str, commands: tuple[Command, ...] = ()) -> None:
        """One validation and its record; at a step that has one already, the commands share it."""
        step = self._progress.step
        if self._progress.validated_step == step:
            self._answer(commands, None, {"shared": True, "record": record_name(step)})
            return
        self._log()
        self._recorder.show(self._compose(trigger, None, validating=True))
        result = validate(
            self._world,
            self._parts.workload,
            self._parts.stepper.model,
            self._parts.stepper.loss,
            preview_count=PREVIEW_COUNT,
            on_image=self._recorder.mark_progress,
        )
        self._publish(result, trigger, commands)
        reset_peak(self._world.device)
        self._window.clock.mark()

    def _publish(self, result: ValidationResult, trigger: str, commands: tuple[Command, ...]) -> None:
        self._validation = result.report(self._parts.controller.weights)
        self._progress.note_validation(self._validation["quality_ki_value"])
        self._peak_gib = max(self._peak_gib, result.peak_gib)
        for name in result.unreadable:
            logger.warning("Validation image %s cannot be read and was skipped.", name)
        record = self._compose(trigger, commands[0].id if commands else None)
        # The all_reduce that made the table is every rank's own report: without one of them it would not have ended.
        answer = {"shared": False, "ranks": report.outcomes_of([(None, began_at) for began_at in result.began_at])}
        waiting = [(command, answer) for command in commands]
        self._recorder.record(record, report.curves_of(record, with_validation=True), result.previews, waiting)
        logger.info(
            "Step %d: quality KI %.4f, LR %.4f; PSNR KI %.3f dB, LR %.3f dB.",
            record["step_current"],
            *(self._validation[key] for key in ("quality_ki_value", "quality_lr_value", "psnr_ki_db", "psnr_lr_db")),
        )

    # Checkpoints

    def _save(self) -> str | None:
        """Save the whole state now; returns why that failed, the same on every rank, or None."""
        is_best = self._progress.best_step == self._progress.step
        problem = self._parts.saver.save(self._progress, is_best=is_best)
        if problem is None:
            self._saved_step = self._progress.step
        else:
            self._recorder.event("checkpoint failed", {"reason": problem})
        self._recorder.mark_progress()
        self._window.clock.mark()
        return problem

    def _saved(self) -> dict[str, Any]:
        """Which checkpoint holds this step, for the result of a command."""
        return {"checkpoint": checkpoint_name(self._progress.step)}

    # Commands

    def _serve(self) -> None:
        """Carry out what was agreed for this boundary; while paused, wait here for what comes next."""
        self._carry_out(self._parts.control.receive())
        while self._paused and self._ending is None:
            self._carry_out(self._parts.control.wait(self._progress.step))
            self._recorder.mark_progress()
            self._window.clock.mark()

    def _carry_out(self, turn: Turn) -> None:
        wanted = turn.operations
        self._turn_began_at = time.time()
        if wanted & (Operation.PAUSE | Operation.RESUME):
            self._set_paused(Operation.PAUSE in wanted, turn)
        if Operation.VALIDATE in wanted:
            self._validate("manual", turn.of(Kind.VALIDATE))
        if Operation.CHECKPOINT in wanted:
            self._answer(turn.of(Kind.CHECKPOINT), self._save(), self._saved())
        if wanted & (Operation.STOP | Operation.LEAVE):
            self._leave(turn)

    def _set_paused(self, paused: bool, turn: Turn) -> None:
        if paused != self._paused:
            self._paused = paused
            logger.info("Paused at step %d." if paused else "Going on at step %d.", self._progress.step)
            self._recorder.event("paused" if paused else "resumed", {})
            self._recorder.set_state(RunState.PAUSED if paused else RunState.RUNNING)
            self._recorder.show(self._compose("schedule", None))
        self._answer(turn.of(Kind.PAUSE) + turn.of(Kind.RESUME), None)

    def _leave(self, turn: Turn) -> None:
        self.is_leaving = Operation.LEAVE in turn.operations
        logger.info("%s at step %d.", "Leaving after a signal" if self.is_leaving else "Stopping", self._progress.step)
        self._log()
        problem = self._save()
        self._answer(turn.of(Kind.STOP), problem, self._saved())
        self._ending = RunState.STOPPED

    def _answer(
        self, commands: tuple[Command, ...], problem: str | None, result: Mapping[str, Any] | None = None
    ) -> None:
        """Finish commands with every rank's own outcome. All ranks call it alike: one collective."""
        outcomes = report.outcomes_of(self._world.gather((problem, self._turn_began_at)))
        state = CommandState.DONE if problem is None else CommandState.FAILED
        for command in commands:
            self._recorder.finish(
                command, state, step=self._progress.step, result={**(result or {}), "ranks": outcomes}, reason=problem
            )


def _log_line(snapshot: Record) -> None:
    logger.info(
        "step %d/%d  loss %.5f  lr %.2e  %.3f s/step  %.1f samples/s  ETA %s",
        snapshot["step_current"],
        snapshot["step_max"],
        snapshot["total_loss_value"] or float("nan"),
        snapshot["learning_rate_value"],
        snapshot["iteration_duration"] or float("nan"),
        snapshot["samples_per_second"] or float("nan"),
        snapshot["eta_total_formatted"],
    )
