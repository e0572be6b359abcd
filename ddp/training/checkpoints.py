"""The run's checkpoints at the step boundary: saved together with live settings and unsaved records, and restored."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ddp.checkpoint.checkpointer import Checkpointer
from ddp.checkpoint.folder import LoadedState, Reason, checkpoint_name
from ddp.distributed.world import World
from ddp.metrics.window import MetricsWindow
from ddp.recording.log_files import FILE_LINE
from ddp.recording.null_recorder import RunRecorder
from ddp.training.run_status import RunStatus
from ddp.watchdog.stages import Stage, StageMarker
from service.config import timeouts
from service.errors import UserError
from service.run.ledger.log_lines import spent_line
from service.run.ledger.time_spent import Activity, TimeSpent

RETRY_SECONDS = 2.0
AFTER_SIGNAL_SECONDS = timeouts.AFTER_SIGNAL_SECONDS
"""Limit of LAST_SAVE_SECONDS after a signal, because launchers kill ranks that take longer to leave."""

logger = logging.getLogger(__name__)


class Checkpoints:
    """Saves, finds and restores the state of the run. All ranks call every method at the same step."""

    def __init__(
        self,
        world: World,
        checkpointer: Checkpointer,
        run_status: RunStatus,
        recorder: RunRecorder,
        window: MetricsWindow,
        marker: StageMarker,
        is_shutdown_requested: Callable[[], bool],
    ) -> None:
        self._world = world
        self._checkpointer = checkpointer
        self._run_status = run_status
        self._recorder = recorder
        self._window = window
        self._marker = marker
        self._is_shutdown_requested = is_shutdown_requested
        self._is_prepared = False
        self._reported_problem: str | None = None  # used by rank 0's writer thread only

    def prepare(self) -> None:
        """Take the memory for copies of the state, in the background; at the first boundary after a start."""
        if not self._is_prepared:
            self._is_prepared = True
            self._checkpointer.prepare()

    def save(self, reason: Reason, on_written: Callable[[int, str | None], None] = lambda *_: None) -> None:
        """Copy the state as it is now, and write it, in the background.

        Rank 0's writer thread then calls `on_written(step, problem)`: the step that was written, which is this one or a
        newer one, and the error message or None.
        """
        step, spent = self._run_status.progress.step, self.time_spent()

        def written(written_step: int, problem: str | None) -> None:
            if written_step == step:
                self._report_written(spent, problem)
            on_written(written_step, problem)

        with self._window.excluded(Activity.SAVING):
            self._marker.enter(Stage.CHECKPOINT)
            self._checkpointer.save(
                step,
                reason,
                is_best=self._run_status.progress.best_step == step,
                extra=self._extra(),
                on_written=written,
            )

    def time_spent(self) -> TimeSpent:
        """Return what this start has spent its time on up to now."""
        return self._window.account.read(self._run_status.progress.step)

    def _extra(self) -> dict[str, Any]:
        """Return what is saved beside the components."""
        run_status = self._run_status
        return {
            "live": run_status.live.state(),
            "records": self._recorder.unsaved_records(),
            "replay": run_status.replay.state(),
        }

    def save_if_best(self) -> None:
        """Save the state, if this step's validation is the best so far and SAVE_BEST is on."""
        progress = self._run_status.progress
        if self._run_status.config.save_best and progress.best_step == progress.step:
            self.save(Reason.BEST)

    def save_and_wait(self, reason: Reason) -> str | None:
        """Save the state and wait until it is durable; return the error message, the same on every rank, or None."""
        with self._window.account.spending(Activity.SAVING):
            self.save(reason)
            self._marker.forget(Stage.CHECKPOINT)  # this one lasts until it is on disk
            return self._checkpointer.drain()

    def save_last(self, reason: Reason) -> str | None:
        """Save the state with which the run ends; return why no state of this step is on disk, or None.

        While the disk refuses it, it is tried again for LAST_SAVE_SECONDS, after a signal for AFTER_SIGNAL_SECONDS at
        most. The message is the same on every rank.
        """
        step, began_at = self._run_status.progress.step, time.monotonic()
        problem = self.save_and_wait(reason)
        if problem is None:
            return None
        if self._checkpointer.holds(step):  # saved before at this step
            return None
        while problem is not None and self._may_try_again(began_at):
            with self._window.account.spending(Activity.SAVING):
                time.sleep(RETRY_SECONDS)
            problem = self.save_and_wait(reason)
        return None if problem is None else f"{problem}; {self._checkpointer.newest_sentence()}"

    def _may_try_again(self, began_at: float) -> bool:
        """Return whether there is time for another attempt, the same on every rank. One collective."""
        seconds = self._run_status.config.last_save_seconds
        if self._is_shutdown_requested():
            seconds = min(seconds, AFTER_SIGNAL_SECONDS)
        return all(self._world.gather(time.monotonic() + RETRY_SECONDS < began_at + seconds))

    def newest(self, at_most: int) -> LoadedState | None:
        """Wait for pending writes, then load the newest state up to the step `at_most`; None if there is none.

        Raises `RunDirectoryError` on all ranks if there are checkpoints, but none is usable.
        """
        self._marker.enter(Stage.ROLLBACK)
        with self._window.account.spending(Activity.STARTING):
            self._checkpointer.drain()
            return self._checkpointer.newest(at_most)

    def named(self, name: str) -> LoadedState:
        """Wait for pending writes, then load the checkpoint `name`. Raises `RunDirectoryError` on all ranks."""
        self._marker.enter(Stage.ROLLBACK)
        with self._window.account.spending(Activity.STARTING):
            self._checkpointer.drain()
            return self._checkpointer.named(name)

    def restore(self, found: LoadedState) -> dict[str, Any]:
        """Restore all components in place; return the state's `extra`. Raises `RuntimeError` if it does not fit."""
        try:
            with self._window.account.spending(Activity.STARTING):
                return self._checkpointer.restore(found)
        except UserError as error:  # too late to reject: some components may already hold the other state
            raise RuntimeError(f"the rollback to {found.saved.folder.name} broke down") from error

    def archive_after(self, step: int, archive: Path) -> None:
        """Move the checkpoints of steps after `step` into the folder `archive`."""
        self._checkpointer.archive_after(step, archive)

    def _report_written(self, spent: TimeSpent, problem: str | None) -> None:
        """Log and record the outcome of a write, and the time `spent` up to its step. On rank 0's writer thread."""
        step = spent.step
        self._recorder.mark_progress()
        if problem is None:  # the writer has logged a problem
            logger.info("Checkpoint saved: %s", checkpoint_name(step))
            logger.info("%s", spent_line(spent), extra=FILE_LINE)
            self._recorder.checkpoint_saved(step, checkpoint_name(step), {"time_spent": spent.as_dict()})
        elif problem != self._reported_problem:  # not for each of several attempts
            self._recorder.event("checkpoint failed", {"checkpoint": checkpoint_name(step), "reason": problem})
        self._reported_problem = problem
