"""Rank 0's recorder: one thread that writes records and the store, sends the heartbeat, and receives commands.

The training thread only appends to a queue here; it never waits for a disk or a database. If the store cannot be
reached, what is meant for it waits (log points beyond a bound are dropped and counted); if a record cannot be written,
it is kept and tried again. Either is said once, and training goes on.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ddp.control import Inbox
from ddp.previews import write_previews
from ddp.validation import Preview
from service.commands import Command, CommandState
from service.files import write_whole
from service.record import Record, encode_record, record_name
from service.run_directory import RunDirectory
from service.run_state import RunState
from service.store import SeriesRow, Store, StoreUnavailableError

POLL_SECONDS = 0.02
HEARTBEAT_SECONDS = 1.0
RETRY_SECONDS = 2.0
LAST_CHANCE_SECONDS = 10.0
LOG_POINTS_KEPT = 10_000
WRITINGS_TOGETHER = 100

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Writing:
    """One thing for the store. Only log points may be dropped."""

    apply: Callable[[Store], object]
    is_log_point: bool = False


@dataclass
class _UnsavedRecord:
    """A record on its way to its file, with the commands that wait for it."""

    record: Record
    previews: Sequence[Preview]
    waiting: Sequence[tuple[Command, Mapping[str, Any]]]
    has_failed: bool = False


class Recorder:
    """Everything rank 0 writes but checkpoints. Public methods are for the training thread and return at once."""

    def __init__(self, store: Store, directory: RunDirectory, run_id: str, inbox: Inbox) -> None:
        self._store = store
        self._directory = directory
        self._run_id = run_id
        self._inbox = inbox
        # From the training thread
        self.step = 0
        self._progress_at = time.time()
        self._lock = threading.Lock()
        self._writings: deque[_Writing] = deque()
        self._records: deque[_UnsavedRecord] = deque()
        self._log_points = 0
        # Of the recorder thread
        self.dropped = 0
        self._store_is_down = False
        self._store_retry_at = 0.0
        self._record_retry_at = 0.0
        self._heartbeat_at = 0.0
        self._stamp: tuple[int, int] | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self) -> None:
        """Begin to write and to listen."""
        self._thread.start()

    def close(self, state: RunState, reason: str | None = None) -> None:
        """Write everything that waits, then the run's last state; gives up after a while if the store stays away."""
        ended = f"the run ended ({state})"
        for command in self._inbox.take_all():
            self.finish(command, CommandState.REJECTED, reason=ended)
        self.set_state(state, reason)
        # After the state, which keeps the API from accepting more.
        self._enqueue(_Writing(lambda store: store.reject_queued(self._run_id, ended)))
        self._ending.set()
        self._thread.join()
        self._store.close()

    def mark_progress(self) -> None:
        """Something moved that is not a step: an image validated, a file saved."""
        self._progress_at = time.time()

    def mark_step(self, step: int) -> None:
        """A step is done."""
        self.step = step
        self._progress_at = time.time()

    def log_point(self, step: int, values: Mapping[str, Any], snapshot: Record) -> None:
        """Append to the series and publish the live snapshot."""
        row = SeriesRow(step, time.time(), dict(values))
        self._enqueue(_Writing(lambda store: store.add_series(self._run_id, [row]), is_log_point=True))
        self.show(snapshot)

    def show(self, snapshot: Record) -> None:
        """Publish the live snapshot."""
        self._update(snapshot=snapshot)

    def record(
        self,
        record: Record,
        series: Mapping[str, Any],
        previews: Sequence[Preview],
        waiting: Sequence[tuple[Command, Mapping[str, Any]]],
    ) -> None:
        """Save a record as its file, its pictures, and its values; then finish the commands that waited for it."""
        row = SeriesRow(record["step_current"], time.time(), dict(series))
        self._enqueue(_Writing(lambda store: store.add_series(self._run_id, [row]), is_log_point=True))
        self._update(snapshot=record)
        with self._lock:
            self._records.append(_UnsavedRecord(record, previews, waiting))

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
        self._enqueue(
            _Writing(lambda store: store.finish_command(command.id, state, step=step, result=result, reason=reason))
        )

    def event(self, kind: str, details: Mapping[str, Any]) -> None:
        """Append to the run's history, at the current step."""
        step = self.step
        self._enqueue(_Writing(lambda store: store.add_event(self._run_id, step, kind, details)))

    def set_state(self, state: RunState, reason: str | None = None) -> None:
        """Publish what the run is doing."""
        self._update(state=state.value, reason=reason, step=self.step)

    def _update(self, **values: Any) -> None:
        self._enqueue(_Writing(lambda store: store.update_run(self._run_id, **values)))

    def _enqueue(self, writing: _Writing) -> None:
        with self._lock:
            if writing.is_log_point and self._log_points >= LOG_POINTS_KEPT:
                self.dropped += 1
                return
            self._log_points += writing.is_log_point
            self._writings.append(writing)

    # The recorder thread

    def _run(self) -> None:
        while not self._ending.wait(POLL_SECONDS):
            try:
                self._turn()
            except Exception:  # the boundary of the thread: a defect here must not end the heartbeat
                logger.exception("The recorder met an unexpected error; it goes on.")
        deadline = time.monotonic() + LAST_CHANCE_SECONDS
        while (self._writings or self._records) and time.monotonic() < deadline:
            self._store_retry_at = self._record_retry_at = 0.0
            self._turn()
            if self._writings or self._records:
                time.sleep(POLL_SECONDS)
        self._say_what_is_lost()

    def _turn(self) -> None:
        now = time.monotonic()
        if now >= self._record_retry_at:
            self._save_records(now)
        if now < self._store_retry_at:
            return
        try:
            self._write_waiting()
            self._beat(now)
            self._receive()
        except StoreUnavailableError as error:
            self._store_retry_at = now + RETRY_SECONDS
            if not self._store_is_down:
                logger.warning("The store cannot be reached (%s); training goes on, and writing will catch up.", error)
            self._store_is_down = True
        else:
            self._say_store_is_back()

    def _write_waiting(self) -> None:
        """Write what waits, many things in one transaction: each costs a wait for the disk."""
        while self._writings:
            with self._lock:
                together = list(islice(self._writings, WRITINGS_TOGETHER))
            with self._store.together():
                for writing in together:
                    self._apply(writing)
            with self._lock:
                for writing in together:
                    self._writings.popleft()
                    self._log_points -= writing.is_log_point

    def _apply(self, writing: _Writing) -> None:
        try:
            writing.apply(self._store)
        except ValueError:
            logger.exception("One writing to the store is not storable and was dropped.")

    def _beat(self, now: float) -> None:
        if now < self._heartbeat_at + HEARTBEAT_SECONDS:
            return
        self._store.update_run(self._run_id, heartbeat_at=time.time(), progress_at=self._progress_at, step=self.step)
        self._heartbeat_at = now

    def _receive(self) -> None:
        """Begin queued commands, in order of acceptance. A look costs one `stat` unless somebody wrote to the store."""
        stamp = self._store.change_stamp()
        if stamp == self._stamp or self._ending.is_set():
            return
        for command in self._store.commands(self._run_id, CommandState.QUEUED):
            if self._store.begin_command(command.id):
                self._inbox.put(command)
        self._stamp = stamp

    def _save_records(self, now: float) -> None:
        while self._records:
            unsaved = self._records[0]
            try:
                sha256 = self._save_record(unsaved)
            except OSError as error:
                if not unsaved.has_failed:
                    logger.warning("⚠️  Failed to save statistics JSON: %s", error)
                unsaved.has_failed = True
                self._record_retry_at = now + RETRY_SECONDS
                self._fail_waiting(unsaved, error)
                return
            with self._lock:
                self._records.popleft()
            self._confirm(unsaved, sha256)

    def _save_record(self, unsaved: _UnsavedRecord) -> str:
        step = unsaved.record["step_current"]
        sha256 = write_whole(self._directory.root / record_name(step), encode_record(unsaved.record))
        logger.info("📊 Statistics saved: %s", record_name(step))
        try:
            write_previews(self._directory.previews, step, unsaved.previews)
        except OSError as error:
            logger.warning("The previews of step %d could not be written: %s", step, error)
        return sha256

    def _confirm(self, unsaved: _UnsavedRecord, sha256: str) -> None:
        record, step = unsaved.record, unsaved.record["step_current"]
        self._enqueue(_Writing(lambda store: store.add_record(self._run_id, step, record, sha256)))
        for command, result in unsaved.waiting:
            self.finish(command, CommandState.DONE, step=step, result={**result, "record": record_name(step)})
        self.mark_progress()

    def _fail_waiting(self, unsaved: _UnsavedRecord, error: OSError) -> None:
        step = unsaved.record["step_current"]
        for command, _ in unsaved.waiting:
            reason = f"{record_name(step)} could not be written yet ({error}); it is kept and will be tried again"
            self.finish(command, CommandState.FAILED, step=step, reason=reason)
        unsaved.waiting = ()

    def _say_store_is_back(self) -> None:
        if self._store_is_down:
            logger.info("The store is back; %d log points were dropped so far.", self.dropped)
            self._store_is_down = False

    def _say_what_is_lost(self) -> None:
        for unsaved in self._records:
            logger.error("%s could not be written and is lost.", record_name(unsaved.record["step_current"]))
        if self._writings:
            logger.error("%d writings to the store are lost: it stayed out of reach.", len(self._writings))
