"""Rank 0's recorder: writes everything that rank 0 writes but checkpoints.

The training thread only appends to a queue here; it never waits for a disk or a database. If the store cannot be
reached, what is meant for it waits (log points beyond a bound are dropped and counted); if a record cannot be written,
it is kept and tried again. Either is reported once, and training goes on.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ddp.control.command_poller import CommandPoller
from ddp.recording.heartbeat import Heartbeat
from ddp.recording.record_writer import RecordWriter, UnsavedRecord, Waiting
from ddp.recording.recorder_thread import POLL_SECONDS, RecorderThread
from ddp.recording.store_writer import StoreWriter, rank_row
from ddp.recording.trackers.base import Tracker
from ddp.validation.result import Preview
from ddp.watchdog.watchdog import RankStatus, Stall
from service.background_thread import retry_while
from service.commands import Command, CommandState
from service.config.live_settings import LiveSettings
from service.run.directory import RunDirectory
from service.run.record import Record, record_name
from service.run.state import RunState
from service.run.trainer_stats import TrainerStats
from service.store.store import SeriesRow, Store, StoreUnavailableError

LAST_CHANCE_SECONDS = 10.0

logger = logging.getLogger(__name__)


class Recorder:
    """Everything rank 0 writes but checkpoints. Public methods are for the training thread and return at once."""

    def __init__(
        self,
        store: Store,
        directory: RunDirectory,
        run_id: str,
        commands: CommandPoller,
        *,
        other_stats: Callable[[], TrainerStats] | None = None,
        tracker: Tracker | None = None,
    ) -> None:
        """`commands` is polled on the recorder's thread.

        `other_stats` returns the statistics of other components, sent with each heartbeat; it is called on the thread.
        """
        self._store = store
        self._directory = directory
        self._run_id = run_id
        self._commands = commands
        self._records = RecordWriter(directory, self._confirm, self._fail_waiting)
        # From the training thread
        self.step = 0
        self._heartbeat = Heartbeat(store, run_id, self._stats)
        self._writings = StoreWriter(store, run_id)
        self._tracker = tracker or Tracker()
        self._snapshot: Record | None = None
        # From the watchdog's thread
        self._rank_statuses: tuple[RankStatus, ...] = ()
        self._stalls = 0
        # Of the recorder thread
        self._other_stats = other_stats or TrainerStats
        self._written_snapshot: Record | None = None
        self._written_statuses: tuple[RankStatus, ...] = ()
        self._unanswered_reason: str | None = None
        self._thread = RecorderThread(
            write_records=self._records.write_waiting,
            write_store=self._write_store,
            poll_commands=lambda: commands.poll(self.step),
            dropped=lambda: self._writings.dropped,
            at_end=self._write_the_rest,
        )

    def start(self) -> None:
        """Begin to write."""
        self._tracker.start(self.step)
        self._thread.start()

    def register_when_reachable(self, open_run: Callable[[Store], object]) -> None:
        """Open the run once the store is within reach, before anything else is written. To be called before `start`."""
        self._writings.add(open_run)

    def close(self, state: RunState, reason: str | None = None) -> None:
        """Write everything that waits, then the run's last state; gives up after a while if the store stays away."""
        ended = f"the run ended ({state})"
        for command in self._commands.take_unexecuted():
            self.finish(command, CommandState.REJECTED, reason=ended)
        self.set_state(state, reason)
        # After the state, which keeps the API from accepting more.
        self._writings.add(lambda store: store.commands.reject_queued(self._run_id, ended))
        self._unanswered_reason = ended
        self.close_for_restart()

    def close_for_restart(self) -> None:
        """Write everything that waits, and no last state: the launcher starts all ranks again, and what waits for one.

        A pause stays in force, queued commands stay queued.
        """
        self._thread.close()
        self._store.close()
        self._tracker.close()

    def mark_progress(self) -> None:
        """Something moved that is not a step: an image validated, a file saved."""
        self._heartbeat.mark_progress()

    def mark_step(self, step: int) -> None:
        """A step is done."""
        self.step = step
        self._heartbeat.mark_progress()

    def log_point(self, step: int, values: Mapping[str, Any], snapshot: Record) -> None:
        """Append to the series and publish the live snapshot. Both mappings are handed over: they change no more."""
        run_id, at = self._run_id, time.time()
        self._writings.add(lambda store: store.series.add(run_id, [SeriesRow(step, at, values)]), is_log_point=True)
        self._tracker.log_point(step, at, snapshot)
        self._snapshot = snapshot

    def publish_snapshot(self, snapshot: Record) -> None:
        """Publish the live snapshot. Only the latest is of interest."""
        self._snapshot = snapshot

    def record(self, record: Record, series: Mapping[str, Any], previews: Sequence[Preview], waiting: Waiting) -> None:
        """Save a record as its file, its pictures, and its values; then finish the commands that waited for it."""
        run_id, step, at = self._run_id, record["step_current"], time.time()
        self._writings.add(lambda store: store.series.add(run_id, [SeriesRow(step, at, series)]), is_log_point=True)
        self._tracker.validation(step, at, record, previews)
        self.publish_snapshot(record)
        self._records.add(UnsavedRecord(record, previews, waiting))

    def unsaved_records(self) -> list[Record]:
        """Records whose files are not on disk yet: a checkpoint that knows of their validations must hold them."""
        return [unsaved.record for unsaved in self._records.unsaved()]

    def adopt_records(self, records: Sequence[Record]) -> None:
        """Save the records that a checkpoint held, where the files are missing."""
        for record in records:
            if not (self._directory.root / record_name(record["step_current"])).exists():
                self._records.add(UnsavedRecord(record))

    def finish(
        self,
        command: Command,
        state: CommandState,
        *,
        step: int | None = None,
        result: Mapping[str, Any] | None = None,
        reason: str | None = None,
    ) -> None:
        """Bring a command to its final state."""
        self._writings.add(
            lambda store: store.commands.finish(command.id, state, step=step, result=result, reason=reason)
        )

    def event(self, kind: str, details: Mapping[str, Any]) -> None:
        """Append to the run's history, at the current step."""
        step = self.step
        self._writings.add(lambda store: store.events.add(self._run_id, step, kind, details))

    def show_settings(self, live: LiveSettings) -> None:
        """Publish the settings in force."""
        self._update(live=live.state())

    def show_ranks(self, statuses: Sequence[RankStatus]) -> None:
        """Publish what every rank is doing; from the watchdog's thread. Only the latest is of interest."""
        self._rank_statuses = tuple(statuses)

    def note_stall(self, stall: Stall) -> None:
        """A rank stalls, or goes on again; from the watchdog's thread."""
        (logger.info if stall.is_over else logger.warning)("%s", stall.sentence)
        self._stalls += not stall.is_over
        details = {"rank": stall.rank, "stage": stall.stage.value, "seconds": stall.seconds, "reason": stall.sentence}
        self.event("going on" if stall.is_over else "stalled", details)
        self._update(reason=None if stall.is_over else stall.sentence)

    def branch_off(self, step: int, last_recorded_step: int, archive: Path) -> None:
        """Put what lies beyond these steps into `archive`, because the run goes on from there on a new branch.

        The only call here that waits for the disk: no record of the new branch may meet one of the old.
        """
        deadline = time.monotonic() + LAST_CHANCE_SECONDS
        while self._records.unsaved() and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        self._records.redirect_after(last_recorded_step, archive)
        try:
            self._directory.archive_records_after(last_recorded_step, archive)
        except OSError as error:
            logger.warning("What lies beyond step %d could not be moved to %s: %s", step, archive, error)
        self._writings.add(lambda store: store.move_to_branch(self._run_id, step, archive.name))
        self._tracker.resume_from(step)

    def set_state(self, state: RunState, reason: str | None = None) -> None:
        """Publish what the run is doing."""
        self._update(state=state.value, reason=reason, step=self.step)

    def _update(self, **values: Any) -> None:
        self._writings.add(lambda store: store.runs.update(self._run_id, **values))

    # The recorder thread

    def _write_the_rest(self) -> None:
        self._heartbeat.force()  # the last heartbeat holds the last checkpoint
        retry_while(
            self._retry, is_wanted=self._has_something_to_write, seconds=LAST_CHANCE_SECONDS, pause_seconds=POLL_SECONDS
        )
        self._answer_the_rest()
        self._report_losses()

    def _retry(self) -> None:
        """Write now, whatever failed before."""
        self._records.retry_now()
        self._thread.retry_now()

    def _has_something_to_write(self) -> bool:
        return bool(self._writings or self._records.unsaved() or self._snapshot is not self._written_snapshot)

    def _answer_the_rest(self) -> None:
        """No command of a run that has ended is left running, whatever kept it from its own answer."""
        if self._unanswered_reason is not None:
            with suppress(StoreUnavailableError):
                self._store.commands.fail_running(self._run_id, self._unanswered_reason)

    def _write_store(self, now: float) -> None:
        """Write all that waits for the store. Raises `StoreUnavailableError`; what was not written stays."""
        self._writings.write()
        self._write_latest()
        self._heartbeat.send_if_due(now, self.step)

    def _stats(self) -> TrainerStats:
        return {
            **self._other_stats(),
            "log_points_dropped": self._writings.dropped,
            "unsaved_records": len(self._records.unsaved()),
            "waiting_writings": len(self._writings),
            "store_outages": self._thread.store_outages,
            "stalls": self._stalls,
            "viewer_events_dropped": self._tracker.dropped,
        }

    def _write_latest(self) -> None:
        """Of what replaces itself only the newest is written; a snapshot is tried again until that has worked."""
        if (snapshot := self._snapshot) is not self._written_snapshot:
            self._store.runs.update(self._run_id, snapshot=snapshot)
            self._written_snapshot = snapshot
        if (statuses := self._rank_statuses) is not self._written_statuses:
            self._written_statuses = statuses
            self._store.ranks.replace(self._run_id, [rank_row(status, time.time()) for status in statuses])

    def _confirm(self, unsaved: UnsavedRecord, sha256: str) -> None:
        step, record = unsaved.step, unsaved.record
        run_id = self._run_id if unsaved.folder is None else unsaved.folder.name
        self._writings.add(lambda store: store.records.add(run_id, step, record, sha256))
        for command, result in unsaved.waiting:
            self.finish(command, CommandState.DONE, step=step, result={**result, "record": unsaved.name})
        self.mark_progress()

    def _fail_waiting(self, unsaved: UnsavedRecord, error: OSError) -> None:
        for command, _ in unsaved.waiting:
            reason = f"{unsaved.name} could not be written yet ({error}); it is kept and will be tried again"
            self.finish(command, CommandState.FAILED, step=unsaved.step, reason=reason)
        unsaved.waiting = ()

    def _report_losses(self) -> None:
        for unsaved in self._records.unsaved():
            logger.error("%s could not be written and is lost.", unsaved.name)
        if self._writings:
            logger.error("%d writings to the store are lost: it stayed out of reach.", len(self._writings))
