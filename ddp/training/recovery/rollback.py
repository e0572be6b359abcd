"""Rolls the run back to a checkpoint, in place: by command, or after too many steps that were not finite."""

import logging
from collections.abc import Callable
from pathlib import Path

from ddp.checkpoint.folder import LoadedState, Reason
from ddp.distributed.world import World
from ddp.recording.log_files import FILE_LINE
from ddp.recording.null_recorder import RunRecorder
from ddp.step.resume_point import ResumePoint
from ddp.training.checkpoints import Checkpoints
from ddp.training.run_status import RunStatus
from ddp.training.settings_change import SettingsChange
from service.run.ledger.log_lines import spent_line
from service.run.ledger.time_spent import TimeSpent

logger = logging.getLogger(__name__)


class Rollback:
    """Continues the run from a checkpoint, on a new branch. All ranks call it at the same step."""

    def __init__(
        self,
        world: World,
        run_status: RunStatus,
        checkpoints: Checkpoints,
        settings: SettingsChange,
        recorder: RunRecorder,
        archive_of: Callable[[int], Path],
        on_restored: Callable[[int], None],
        report_data: Callable[[], None],
        resume_point: ResumePoint,
    ) -> None:
        """`archive_of(branch)` returns the folder for an abandoned branch; `on_restored` receives the restored step.

        `report_data` says whether the restored state was trained on other data.
        """
        self._world = world
        self._run_status = run_status
        self._checkpoints = checkpoints
        self._settings = settings
        self._recorder = recorder
        self._archive_of = archive_of
        self._on_restored = on_restored
        self._report_data = report_data
        self._resume_point = resume_point

    def run(self, found: LoadedState, reason: str, lr_factor: float | None = None) -> None:
        """Restore `found` and archive the records and checkpoints of later steps.

        With `lr_factor` the learning rate is lowered. Raises `RuntimeError` if the state does not fit the network.
        """
        progress = self._run_status.progress
        from_step, branch, spent = progress.step, progress.branch, self._checkpoints.time_spent()
        self._resume_point.begin_change()
        extra = self._checkpoints.restore(found)
        progress.branch = branch + 1
        self._run_status.replay.note_rollback(branch, from_step, progress.step)
        self._settings.restore(extra["live"], lr_factor)
        self._on_restored(progress.step)
        archive = self._archive_of(branch)
        self._recorder.branch_off(progress.step, progress.last_recorded_step, archive)
        self._checkpoints.archive_after(progress.step, archive)
        self._report(from_step, found, reason, spent)
        self._report_data()
        # A resume after a crash must find the new branch and its learning rate, and pruning must keep this checkpoint.
        self._checkpoints.save(Reason.COMMAND)
        self._resume_point.end_rollback()

    def _report(self, from_step: int, found: LoadedState, reason: str, spent: TimeSpent) -> None:
        name, progress = found.saved.folder.name, self._run_status.progress
        if self._world.is_main:
            logger.info("%s", spent_line(spent), extra=FILE_LINE)
            logger.warning(
                "Rolled back from step %d to %s (%s); this is branch %d.", from_step, name, reason, progress.branch
            )
        details = {"from_step": from_step, "checkpoint": name, "reason": reason, "branch_id": progress.branch}
        times = {"began_at": spent.at, "time_spent": spent.as_dict()}
        self._recorder.mark_step(progress.step)
        self._recorder.event("rollback", {**details, **times, "LR_SCALE": self._run_status.config.lr_scale})
        self._settings.publish()
