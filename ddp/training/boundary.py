"""What can happen between two steps: a log point, a validation, a checkpoint, a pause, other settings, the way back.

All ranks call the same at the same step. Nothing here changes the training's result but `change` and `roll_back`, which
are asked for exactly that.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from ddp.checkpoint.folder import LoadedState, Reason, checkpoint_name
from ddp.metrics.stragglers import StragglerDetector
from ddp.metrics.window import WindowMetrics, reset_peak
from ddp.training import record_values
from ddp.training.components import TrainerComponents
from ddp.validation.evaluation import Networks, validate
from ddp.validation.result import ValidationResult
from ddp.watchdog.stages import Stage
from service.commands import Command
from service.config.live_settings import LiveSettings
from service.errors import UserError
from service.loss_terms import TOTAL_LOSS_KEY
from service.run.record import Record, record_name
from service.run.state import RunState

PREVIEW_COUNT = 4

logger = logging.getLogger(__name__)


class StepBoundary:
    """The acts of a step boundary, on one rank."""

    def __init__(self, parts: TrainerComponents) -> None:
        self._parts = parts
        self._snapshot_builder = parts.snapshot_builder
        self._run_status = parts.run_status
        self._recorder = parts.recorder
        self._slow_ranks = StragglerDetector()

    # Log points

    def log(self) -> None:
        """Close the window and publish it, if a step fell into it."""
        if self._parts.window.is_empty:
            return
        self._parts.marker.enter(Stage.LOG)
        summary = self._look_at_window()
        skipped = self._parts.window.restart()
        if summary.skipped:
            self._say_unreadable(self._parts.world.gather(skipped))
        self._say_slow_rank(summary)
        snapshot = self._snapshot_builder.build("schedule")
        if self._parts.world.is_main:
            _log_line(snapshot)
        step = self._run_status.progress.step
        self._recorder.log_point(step, record_values.curves_of(snapshot, with_validation=False), snapshot)

    def show(self) -> None:
        """Publish the live snapshot; begins no new window."""
        self._recorder.publish_snapshot(self._snapshot_builder.build("schedule"))

    def _look_at_window(self) -> WindowMetrics:
        summary = self._parts.window.summarise()
        self._snapshot_builder.note_window(summary)
        return summary

    def _say_unreadable(self, names_by_rank: list[list[str]]) -> None:
        names = sorted({name for names in names_by_rank for name in names})
        logger.warning("%d unreadable training images were skipped: %s", len(names), ", ".join(names[:10]))
        self._recorder.event("skipped", {"images": names})

    def _say_slow_rank(self, summary: WindowMetrics) -> None:
        """Name the rank on which the others wait: once several windows say so, and when it is over."""
        before = self._slow_ranks.named
        if not self._slow_ranks.update(summary.slow_rank) or not self._parts.world.is_main:
            return
        slow, own_seconds = self._slow_ranks.named, [row.own_seconds for row in summary.ranks]
        if slow is None:
            logger.info("Rank %d is no longer slower than the others.", before)
        else:
            waits = summary.ranks[slow].wait_seconds_per_step
            logger.warning(
                "Rank %d is slow: %.3f s per step by itself (%.3f s of it waiting for data), others %.3f s or less.",
                slow, own_seconds[slow], waits, max((*own_seconds[:slow], *own_seconds[slow + 1 :])),
            )  # fmt: skip
        self._recorder.event("slow rank", {"rank": slow, "own_seconds": own_seconds})

    # Validation

    def validate(self, trigger: str, commands: tuple[Command, ...] = ()) -> bool:
        """One validation and its record; False, on all ranks, when a rank wished to leave before it was through.

        The caller has made sure that this step has none yet.
        """
        if not self._parts.window.is_empty:
            self._look_at_window()
        self._recorder.publish_snapshot(self._snapshot_builder.build(trigger, validating=True))
        stepper = self._parts.stepper
        self._on_image()
        result = validate(
            self._parts.world,
            self._parts.workload,
            Networks(stepper.model, stepper.ema.model if stepper.ema else None, stepper.loss),
            preview_count=PREVIEW_COUNT,
            on_image=self._on_image,
            before_exchange=lambda: self._parts.marker.enter(Stage.ALL_REDUCE),
            wants_to_leave=lambda: self._parts.leave.is_set,
        )
        if result is not None:
            self._publish(result, trigger, commands)
        reset_peak(self._parts.world.device)
        self._parts.window.clock.restart()
        return result is not None

    def _on_image(self) -> None:
        self._parts.marker.enter(Stage.VALIDATION)
        self._recorder.mark_progress()

    def _publish(self, result: ValidationResult, trigger: str, commands: tuple[Command, ...]) -> None:
        found = self._snapshot_builder.note_validation(result)
        self._run_status.progress.note_validation(found["quality_ki_value"])
        if trigger == "schedule":  # a manual one must leave the controller, and so the training, as it was
            self._parts.controller.note_quality(found["quality_ki_value"])
        for name in result.unreadable:
            logger.warning("Validation image %s cannot be read and was skipped.", name)
        record = self._snapshot_builder.build(trigger, commands[0].id if commands else None)
        # The all_reduce that made the table is every rank's own report: without one of them it would not have ended.
        answer = {
            "shared": False,
            "ranks": record_values.outcomes_of([(None, began_at) for began_at in result.began_at]),
        }
        waiting = [(command, answer) for command in commands]
        self._recorder.record(record, record_values.curves_of(record, with_validation=True), result.previews, waiting)
        logger.info(
            "Step %d: quality KI %.4f, LR %.4f; PSNR KI %.3f dB, LR %.3f dB.",
            record["step_current"],
            *(found[key] for key in ("quality_ki_value", "quality_lr_value", "psnr_ki_db", "psnr_lr_db")),
        )

    # Checkpoints

    def save(self, reason: Reason, on_written: Callable[[int, str | None], None] = lambda *_: None) -> None:
        """Copy the state now, write it in the background.

        Rank 0 then calls `on_written` with the step that was written, this one or a newer one, and the problem or None.
        """
        self._parts.marker.enter(Stage.CHECKPOINT)
        step = self._run_status.progress.step

        def written(written_step: int, problem: str | None) -> None:
            if written_step == step:
                self._say_written(step, problem)
            on_written(written_step, problem)

        self._parts.checkpointer.save(
            step,
            reason,
            is_best=self._run_status.progress.best_step == step,
            extra={"live": self._run_status.live.state(), "records": self._recorder.unsaved_records()},
            on_written=written,
        )
        self._parts.window.clock.restart()

    def save_if_best(self) -> None:
        """After a validation: keep the state, if it is the best so far and SAVE_BEST says so."""
        if self._run_status.config.save_best and self._run_status.progress.best_step == self._run_status.progress.step:
            self.save(Reason.BEST)

    def _say_written(self, step: int, problem: str | None) -> None:
        """On rank 0's writer thread."""
        self._recorder.mark_progress()
        if problem is None:  # a problem is logged by the writer
            logger.info("Checkpoint saved: %s", checkpoint_name(step))
            self._recorder.event("checkpoint", {"checkpoint": checkpoint_name(step)})
        else:
            self._recorder.event("checkpoint failed", {"checkpoint": checkpoint_name(step), "reason": problem})

    def save_and_wait(self, reason: Reason) -> str | None:
        """Save, and wait until it is durable; the problem, the same on every rank, or None."""
        self.save(reason)
        return self._parts.checkpointer.drain()

    # Pause, end

    def pause(self, wanted: bool) -> None:
        """Stand still, or go on."""
        if wanted == self._run_status.is_paused:
            return
        self._run_status.is_paused = wanted
        logger.info("Paused at step %d." if wanted else "Going on at step %d.", self._run_status.progress.step)
        state = RunState.PAUSED if wanted else RunState.RUNNING
        if self._parts.world.is_main:
            self._parts.world.leave_restart_note(state)  # whose store may be away
        self._recorder.event("paused" if wanted else "resumed", {})
        self._recorder.set_state(state)
        self.show()

    def leave(self, *, is_asked_by_signal: bool) -> str | None:
        """Save and end the run for now; why that failed, or None."""
        self._run_status.is_leaving = is_asked_by_signal
        step = self._run_status.progress.step
        logger.info("%s at step %d.", "Leaving after a signal" if is_asked_by_signal else "Stopping", step)
        if not self._parts.window.is_empty:
            self._look_at_window()
        self.show()
        problem = self.save_and_wait(Reason.LEAVE)
        self._run_status.ending = RunState.STOPPED
        return problem

    # What changes the training

    def change(self, live: LiveSettings, details: Mapping[str, Any]) -> None:
        """Put other settings in force from the next step on."""
        self._run_status.live = live
        self._parts.controller.configure(live.config, live.pins)
        logger.info("Settings changed at step %d: %s", self._run_status.progress.step, _as_assignments(details))
        self._recorder.event("set", dict(details))
        self._recorder.show_settings(live)
        self.show()

    def roll_back(self, found: LoadedState, reason: str, lr_factor: float | None = None) -> None:
        """Take over a saved state in place and go on from there, on a new branch; later records are archived.

        The caller has drained the saver before it looked for the state. With `lr_factor` the learning rate is lowered:
        the smaller of the two scales, then and now, times the factor.
        """
        run_status, parts = self._run_status, self._parts
        left_at, branch, scale = run_status.progress.step, run_status.progress.branch, run_status.config.lr_scale
        extra = self._restored(found)
        live, _ = LiveSettings.resumed(run_status.live.start, extra["live"])
        run_status.progress.branch = branch + 1
        if lr_factor is not None:
            lower = {"LR_SCALE": min(scale, live.config.lr_scale) * lr_factor}
            live = live.changed(lower, step=run_status.progress.step, has_perceptual=parts.workload.has_perceptual)
        run_status.live = live
        parts.controller.configure(live.config, live.pins)
        parts.batch_stream.reset()
        parts.control.reset(run_status.progress.step)
        parts.window.clock.restart()
        archive = parts.directory.archive_of_branch(parts.run_id, branch)
        self._recorder.branch_off(run_status.progress.step, run_status.progress.last_recorded_step, archive)
        parts.checkpointer.archive_after(run_status.progress.step, archive)
        self._say_rolled_back(left_at, found, reason)
        self.save(Reason.COMMAND)  # a crash must find the new branch and its learning rate, and pruning must spare it

    def _restored(self, found: LoadedState) -> dict[str, Any]:
        try:
            return self._parts.checkpointer.restore(found)
        except UserError as error:  # no refusal any more: the parts may hold a half of each state
            raise RuntimeError(f"the rollback to {found.saved.folder.name} broke down") from error

    def _say_rolled_back(self, left_at: int, found: LoadedState, reason: str) -> None:
        name, progress = found.saved.folder.name, self._run_status.progress
        if self._parts.world.is_main:
            logger.warning(
                "Rolled back from step %d to %s (%s); this is branch %d.", left_at, name, reason, progress.branch
            )
        details = {"from_step": left_at, "checkpoint": name, "reason": reason, "branch_id": progress.branch}
        self._recorder.mark_step(progress.step)
        self._recorder.event("rollback", {**details, "LR_SCALE": self._run_status.config.lr_scale})
        self._recorder.show_settings(self._run_status.live)
        self.show()

    def shared_record(self) -> dict[str, Any]:
        """The answer to who asks for a validation at a step that has one."""
        return {"shared": True, "record": record_name(self._run_status.progress.step)}


def _as_assignments(details: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in details.items())


def _log_line(snapshot: Record) -> None:
    logger.info(
        "step %d/%d  loss %.5f  lr %.2e  %.3f s/step  %.1f samples/s  ETA %s",
        snapshot["step_current"],
        snapshot["step_max"],
        _or_nan(snapshot[TOTAL_LOSS_KEY]),
        snapshot["learning_rate_value"],
        _or_nan(snapshot["iteration_duration"]),
        _or_nan(snapshot["samples_per_second"]),
        snapshot["eta_total_formatted"],
    )


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
