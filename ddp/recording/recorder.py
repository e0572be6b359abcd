"""Rank 0's recorder: writes everything that rank 0 writes but checkpoints.

The training thread only appends to queues here; it never waits for a disk or a database. While the store is
unreachable, writes to it are queued (log points beyond a limit are dropped and counted). A record that cannot be
written is kept and retried. Each failure is logged once, and training continues.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ddp.control.command_poller import CommandPoller
from ddp.recording.record_files import DirectoryWatch, RecordFiles
from ddp.recording.record_writer import RecordWriter, UnsavedRecord, Waiting
from ddp.recording.recorder_thread import RecorderThread
from ddp.recording.registration import RunRegistration
from ddp.recording.store_reporter import StoreReporter
from ddp.recording.trackers.base import Tracker
from ddp.validation.result import Preview
from ddp.watchdog.watchdog import RankStatus, Stall
from service.background_thread import retry_while
from service.commands import Command, CommandState
from service.config import timeouts
from service.config.live_settings import LiveSettings
from service.run.directory import RunDirectory
from service.run.lock import RunLock
from service.run.record import PACKED, LogPoint, Record, record_name
from service.run.run_folder import RunFolder
from service.run.state import RunState
from service.run.trainer_stats import TrainerStats
from service.store.store import SeriesRow, Store, StoreUnavailableError

LAST_CHANCE_SECONDS = timeouts.LAST_WRITES_SECONDS
ATTEMPT_SECONDS = 0.02  # between two attempts while something waits for the end of all writing

logger = logging.getLogger(__name__)


class Recorder:
    """Writer of rank 0's output except checkpoints. Public methods are for the training thread and do not block."""

    def __init__(
        self,
        store: Store,
        directory: RunDirectory,
        run_id: str,
        commands: CommandPoller,
        *,
        other_stats: Callable[[], TrainerStats] | None = None,
        tracker: Tracker | None = None,
        registration: RunRegistration | None = None,
    ) -> None:
        """Own `commands`, which is started and closed with the recorder.

        The recorder's thread calls `other_stats()`, the statistics of other components, for each heartbeat. With
        `registration`, it is noticed that another trainer reports the run, or that the store was emptied or restored.
        """
        self._store = store
        self._directory = directory
        self._run_id = run_id
        self._commands = commands
        self._files = RecordFiles(directory, run_id, on_kept=lambda details: self.event("record kept", details))
        self._records = RecordWriter(self._files, self._confirm, self._fail_waiting)
        self._watch = DirectoryWatch(
            directory,
            self._files,
            on_renewed=lambda reason: self.event("lock removed", {"reason": reason}),
            on_taken=lambda reason: self._reports.report_second_trainer(self.step, reason),
            on_lost=lambda reason: self._reports.report_lost_directory(self.step, reason),
        )
        self._reports = StoreReporter(store, directory, run_id, self._stats, registration, self._watch.is_held)
        self.previews_folder = self._files.previews_folder
        self.step = 0  # set by the training thread
        self._tracker = tracker or Tracker()
        self._stalls = 0  # set by the watchdog's thread
        # Used by the recorder's thread only
        self._other_stats = other_stats or TrainerStats
        self._unanswered_reason: str | None = None
        self._thread = RecorderThread(
            write_records=self._write_records,
            write_store=self._write_store,
            dropped=lambda: self._reports.dropped,
            at_end=self._write_remaining,
        )

    def start(self) -> None:
        """Start the tracker, the recorder's thread and the search for commands."""
        self._tracker.start(self.step)
        self._thread.start()
        self._commands.start(lambda: self.step)

    def watch_directory(self, lock: RunLock | None, folder: RunFolder, relocate: Callable[[Path], object]) -> None:
        """Keep `run.json` up to date, and notice that another trainer takes the lock. Call it before `start`.

        Then `relocate` receives another folder for checkpoints.
        """
        self._watch.begin(lock, folder, relocate)

    def register_when_reachable(self, open_run: Callable[[Store], object]) -> None:
        """Register the run once the store is reachable, before all other writes. Call it before `start`."""
        self._reports.add(open_run)

    def close(self, state: RunState, reason: str | None = None) -> None:
        """Write everything queued and the final state; give up after LAST_CHANCE_SECONDS without the store."""
        ended = f"the run ended ({state})"
        self._commands.close()
        for command in self._commands.take_unexecuted():
            self.finish(command, CommandState.REJECTED, reason=ended)
        self.set_state(state, reason)
        # Queued after the state, which makes the API accept no more commands.
        self._reports.add(lambda store: store.commands.reject_queued(self._run_id, ended))
        self._unanswered_reason = ended
        self.close_for_restart()

    def close_for_restart(self) -> None:
        """Write everything queued, but no final state, because the launcher restarts all ranks.

        A pause stays in force, and commands that were not executed are queued again.
        """
        self._commands.close()
        for command in self._commands.take_unexecuted():
            self._reports.add(lambda store, key=command.id: store.commands.put_back(key))  # type: ignore[misc]
        self._thread.close()
        self._store.close()
        self._tracker.close()

    def mark_progress(self) -> None:
        """Record progress other than a step, such as a validated image or a saved file."""
        self._reports.mark_progress()

    def mark_step(self, step: int) -> None:
        """Record that step number `step` is complete."""
        self.step = step
        self._reports.mark_progress()

    def log_point(self, step: int, values: Mapping[str, Any], snapshot: Record) -> None:
        """Append to the series and publish the live snapshot. The caller must not change either mapping afterwards."""
        self._add_point(point := SeriesRow(step, time.time(), values))
        self._tracker.log_point(step, point.time, snapshot)
        self._reports.publish_snapshot(snapshot)

    def publish_snapshot(self, snapshot: Record) -> None:
        """Publish the live snapshot; it replaces one that has not been written yet."""
        self._reports.publish_snapshot(snapshot)

    def record(self, record: Record, series: Mapping[str, Any], previews: Sequence[Preview], waiting: Waiting) -> None:
        """Write a record's file, previews and series values; then finish the commands in `waiting`."""
        self._add_point(point := SeriesRow(record["step_current"], time.time(), series))
        self._tracker.validation(point.step, point.time, record, previews)
        self.publish_snapshot(record)
        self._records.add(UnsavedRecord(record, previews, waiting))
        self._thread.wake()

    def unsaved_records(self) -> list[Record]:
        """Return the records that are not on disk yet; a checkpoint of a later state must contain them."""
        return [unsaved.record for unsaved in self._records.unsaved()]

    def adopt_records(self, records: Sequence[Record], points: Sequence[LogPoint] = ()) -> None:
        """Write the records of a state whose files are missing, and what the store lacks of the last log points."""
        for record in records:
            name = record_name(record["step_current"])
            if not any((self._directory.root / saved).exists() for saved in (name, f"{name}{PACKED}")):
                self._records.add(UnsavedRecord(record))
        self._reports.add(lambda store: store.series.add_missing(self._run_id, [SeriesRow(*point) for point in points]))

    def checkpoint_saved(self, step: int, name: str, more: Mapping[str, Any]) -> None:
        """Record that a checkpoint is on disk, with `more` about it. Called on the checkpoint writer's thread."""
        self._watch.note_checkpoint(step)
        self.event("checkpoint", {"checkpoint": name, **more})

    def begin_command(self, command: Command) -> None:
        """Add a command that begins now, without having been queued."""
        self._add(lambda store: store.commands.add(command))

    def finish(
        self,
        command: Command,
        state: CommandState,
        *,
        step: int | None = None,
        result: Mapping[str, Any] | None = None,
        reason: str | None = None,
    ) -> None:
        """Set the final state of a command."""
        self._add(lambda store: store.commands.finish(command.id, state, step=step, result=result, reason=reason))

    def event(self, kind: str, details: Mapping[str, Any]) -> None:
        """Append to the run's event log, at the current step."""
        step = self.step
        self._add(lambda store: store.events.add(self._run_id, step, kind, details))

    def publish_settings(self, live: LiveSettings) -> None:
        """Publish the settings in force."""
        self._update(live=live.state())

    def publish_rank_statuses(self, statuses: Sequence[RankStatus]) -> None:
        """Publish the status of every rank; only the latest is written. Called on the watchdog's thread."""
        self._reports.publish_rank_statuses(statuses)

    def record_stall(self, stall: Stall) -> None:
        """Log and record that a rank stalls or has recovered. Called on the watchdog's thread."""
        (logger.info if stall.is_resolved else logger.warning)("%s", stall.message)
        self._stalls += not stall.is_resolved
        self.event(stall.kind, stall.details())
        self._update(reason=None if stall.is_resolved else stall.message)

    def branch_off(self, step: int, last_recorded_step: int, archive: Path) -> None:
        """Move everything of later steps into `archive`, because the run continues at `step` on a new branch.

        The only method that waits for the disk: records of the old branch must be moved before any of the new branch.
        """
        deadline = time.monotonic() + LAST_CHANCE_SECONDS
        while self._records.unsaved() and time.monotonic() < deadline:
            time.sleep(ATTEMPT_SECONDS)
        self._records.redirect_after(last_recorded_step, archive)
        try:
            self._directory.archive_records_after(last_recorded_step, archive)
        except OSError as error:
            logger.warning("What lies beyond step %d could not be moved to %s (%s).", step, archive, error.strerror)
        self._reports.add(lambda store: store.move_to_branch(self._run_id, step, archive.name, last_recorded_step))
        self._tracker.resume_from(step)

    def set_state(self, state: RunState, reason: str | None = None) -> None:
        """Publish the state of the run."""
        self._tracker.set_state(state.value)
        self._update(state=state.value, reason=reason, step=self.step)

    def _update(self, **values: Any) -> None:
        self._reports.update(**values)
        self._thread.wake()

    def _add_point(self, row: SeriesRow) -> None:
        self._reports.add(lambda store: store.series.add(self._run_id, [row]), is_log_point=True)

    def _add(self, write: Callable[[Store], object]) -> None:
        """Queue a write for the store, and write it now."""
        self._reports.add(write)
        self._thread.wake()

    def _write_remaining(self) -> None:
        self._reports.force_heartbeat()  # the last one must report the last checkpoint
        retry_while(
            self._retry, is_wanted=self._has_something_to_write,
            seconds=LAST_CHANCE_SECONDS, pause_seconds=ATTEMPT_SECONDS,
        )  # fmt: skip
        self._fail_unanswered()
        self._reports.take_leave(self.step)
        self._records.log_losses()
        self._reports.log_losses()

    def _retry(self) -> None:
        """Write now, without the delay after a failure."""
        self._records.retry_now()
        self._thread.retry_now()

    def _has_something_to_write(self) -> bool:
        return bool(self._reports.is_pending or self._records.unsaved() or self._watch.is_pending)

    def _fail_unanswered(self) -> None:
        """Fail the commands that are still running at the end of the run."""
        if self._unanswered_reason is not None and not self._reports.is_silent:
            with suppress(StoreUnavailableError):
                self._store.commands.fail_running(self._run_id, self._unanswered_reason)

    def _write_records(self, now: float) -> None:
        self._watch.check_if_due(now)
        self._records.write_waiting(now)

    def _write_store(self, now: float) -> None:
        self._reports.write(now, self.step)
        if self._reports.is_silent:
            self._commands.close(timeout_seconds=0)  # they are for the trainer that reports the run

    def _stats(self) -> TrainerStats:
        return {
            **self._other_stats(),
            "log_points_dropped": self._reports.dropped,
            "unsaved_records": len(self._records.unsaved()),
            "waiting_writings": self._reports.waiting,
            "store_outages": self._thread.store_outages,
            "stalls": self._stalls,
            "viewer_events_dropped": self._tracker.dropped,
        }

    def _confirm(self, unsaved: UnsavedRecord, sha256: str) -> None:
        step, record = unsaved.step, unsaved.record
        run_id = self._run_id if unsaved.folder is None else unsaved.folder.name
        self._reports.add(lambda store: store.records.add(run_id, step, record, sha256))
        for command, result in unsaved.waiting:
            self.finish(command, CommandState.DONE, step=step, result={**result, "record": unsaved.name})
        self.mark_progress()

    def _fail_waiting(self, unsaved: UnsavedRecord, error: OSError) -> None:
        for command, _ in unsaved.waiting:
            reason = f"{unsaved.name} could not be written yet ({error.strerror}); it is kept and tried again"
            self.finish(command, CommandState.FAILED, step=unsaved.step, reason=reason)
        unsaved.waiting = ()
