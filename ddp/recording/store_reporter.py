"""Reports a run to its store, for as long as the run's row there is this trainer's.

If another trainer has started the run since, this one falls silent there. If the store does not know this start of the
run any more, because it was emptied or restored from a backup, the run is opened again.
"""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from ddp.recording.heartbeat import Heartbeat
from ddp.recording.record_copies import RecordCopies
from ddp.recording.registration import OwnedRun, RunRegistration
from ddp.recording.store_writer import StoreWriter, rank_row
from ddp.watchdog.rank_status import RankStatus
from service.commands import Kind
from service.run.directory import RunDirectory
from service.run.record import Record
from service.run.trainer_stats import TrainerStats
from service.store.queries.runs import NotOwnerError, RunOwnership
from service.store.store import Store, StoreUnavailableError

SECOND_TRAINER = "second trainer"
LOST_DIRECTORY = "directory lost"
SECOND_TRAINER_GONE = "second trainer gone"
STORE_REPLACED = "store replaced"

logger = logging.getLogger(__name__)


class StoreReporter:
    """Everything that a trainer writes to its store. `write` is for the recorder's thread, the rest for any thread."""

    def __init__(
        self,
        store: Store,
        directory: RunDirectory,
        run_id: str,
        stats: Callable[[], TrainerStats],
        registration: RunRegistration | None = None,
        has_directory: Callable[[], bool] = lambda: True,
    ) -> None:
        """Without `registration`, it is not noticed that another trainer reports the run, or that the store is another.

        `has_directory()` returns False if another trainer works in the run directory.
        """
        self._store = store
        self._directory = directory
        self._registration = registration
        self._has_directory = has_directory
        self._is_in_directory = store.location == str(directory.store)
        self._run = OwnedRun(store, run_id, registration.owner.token if registration else None)
        self._writes = StoreWriter(store, run_id, self._run)
        self._heartbeat = Heartbeat(self._run, stats)
        self._copies = RecordCopies(store, directory, run_id)
        self._are_copies_known = registration is None
        self._row: dict[str, Any] = {}
        self._snapshot: Record | None = None
        self._written_snapshot: Record | None = None
        self._statuses: tuple[RankStatus, ...] = ()
        self._written_statuses: tuple[RankStatus, ...] = ()
        self._farewell: dict[str, Any] | None = None
        self.is_silent = False

    # Any thread

    @property
    def dropped(self) -> int:
        """Log points that the store never gets."""
        return self._writes.dropped

    @property
    def waiting(self) -> int:
        """Writes that are queued."""
        return len(self._writes)

    def log_losses(self) -> None:
        """Log what did not reach the store until the end, what there is nevertheless, and what to do."""
        if self.is_silent or not self._writes:
            return
        points = self._writes.log_points
        logger.error(
            "The store stayed out of reach to the end: %d log points of the curves and %d changes of state, events and "
            "commands are lost. The records are in their files in %s, and the next start copies them into the store: "
            "make it reachable, then resume.",
            points,
            len(self._writes) - points,
            self._directory.root,
        )

    @property
    def is_pending(self) -> bool:
        """True if something is not in the store yet."""
        is_snapshot_new = self._snapshot is not self._written_snapshot
        return not self.is_silent and (bool(self._writes) or is_snapshot_new or self._heartbeat.is_forced)

    def add(self, apply: Callable[[Store], object], *, is_log_point: bool = False) -> None:
        """Queue one write; does nothing once another trainer reports the run."""
        if not self.is_silent:
            self._writes.add(apply, is_log_point=is_log_point)

    def update(self, **values: Any) -> None:
        """Queue a change of columns of the run's row."""
        self._row.update(values)
        self.add(lambda store: store.runs.update(self._run.run_id, **values))

    def publish_snapshot(self, snapshot: Record) -> None:
        """Publish the live snapshot; it replaces one that has not been written yet."""
        self._snapshot = snapshot

    def publish_rank_statuses(self, statuses: Sequence[RankStatus]) -> None:
        """Publish the status of every rank; only the latest is written."""
        self._statuses = tuple(statuses)

    def mark_progress(self) -> None:
        """Store the current time as the time of the last progress."""
        self._heartbeat.mark_progress()

    def force_heartbeat(self) -> None:
        """Make the next heartbeat due immediately."""
        self._heartbeat.force()

    def report_second_trainer(self, step: int, reason: str) -> None:
        """Record that another trainer works in the run directory, for the reason that people read."""
        if (registration := self._registration) is not None:
            self._farewell = {**_start(registration), "reason": reason}
            details, run_id = self._farewell, self._run.run_id
            self.add(lambda store: store.events.add(run_id, step, SECOND_TRAINER, details))

    def report_lost_directory(self, step: int, reason: str) -> None:
        """Record that the run directory had to be made again, and ask for a checkpoint in it."""
        run_id = self._run.run_id
        self.add(lambda store: store.events.add(run_id, step, LOST_DIRECTORY, {"reason": reason}))
        self.add(lambda store: store.commands.submit(run_id, Kind.CHECKPOINT, {}, actor="trainer", source="trainer"))

    # The recorder's thread

    def write(self, now: float, step: int) -> None:
        """Write everything queued, the latest values, and the heartbeat if it is due at the monotonic time `now` (s).

        Raises `StoreUnavailableError`; unwritten entries stay queued.
        """
        if self.is_silent:
            return
        try:
            self._copies.queue_some(self._writes)
            self._writes.write()
            self._write_snapshot()
            self._write_statuses_and_heartbeat(now, step)
            self._look_for_copies()
        except NotOwnerError:
            self._find_out(step)
        except StoreUnavailableError:
            self._create_if_removed()
            raise

    def fall_silent(self) -> None:
        """Report nothing to the store any more."""
        self.is_silent = True
        self._writes.clear()

    def take_leave(self, step: int) -> None:
        """Record at the end of a trainer that had fallen silent that it is gone; does nothing if the store is away."""
        if self._farewell is not None:
            with suppress(StoreUnavailableError):
                self._store.events.add(self._run.run_id, step, SECOND_TRAINER_GONE, self._farewell)

    def _write_snapshot(self) -> None:
        """Write the latest snapshot; one that could not be written is retried."""
        if (snapshot := self._snapshot) is not self._written_snapshot:
            self._run.update(snapshot=snapshot)
            self._written_snapshot = snapshot

    def _write_statuses_and_heartbeat(self, now: float, step: int) -> None:
        """Write both in one transaction where possible: each costs a flush of the disk, and wakes all readers."""
        if (statuses := self._statuses) is self._written_statuses:
            self._heartbeat.send_if_due(now, step)
            return
        self._written_statuses = statuses
        rows = [rank_row(status, time.time()) for status in statuses]
        with self._store.transaction_scope(), self._store.run_transaction(self._run.run_id, announces=False):
            self._store.ranks.replace(self._run.run_id, rows)
            self._run.require()
            self._heartbeat.send_if_due(now, step, is_early=True)

    def _look_for_copies(self) -> None:
        """Once after the start, look for records that the store lacks."""
        if not self._are_copies_known:
            self._copies.find()
            self._are_copies_known = True

    def _create_if_removed(self) -> None:
        """Create the store's file again if it is gone while the run directory is there and still this trainer's."""
        is_gone = not self._store.exists() and self._directory.root.is_dir()
        if is_gone and self._registration is not None and self._has_directory():
            self._store.create()

    # Another trainer, or another store

    def _find_out(self, step: int) -> None:
        """Find out why the run's row is not as this trainer left it, and act accordingly."""
        registration = self._registration
        assert registration is not None  # without one, no write requires anything of the row
        if self._is_in_directory and not self._has_directory() and self._store.runs.get(self._run.run_id) is None:
            self._farewell = None
            self.fall_silent()  # the file is of the other trainer's run
            return
        with self._store.transaction_scope(), self._store.run_transaction(self._run.run_id):
            found = self._store.runs.ownership(self._run.run_id)
            other = registration.superseded_by(found)
            if other is None:
                details = self._open_again(registration, step, "emptied" if found is None else "restored")
            else:
                details = self._superseded(registration, other)
                self._store.events.add(self._run.run_id, step, SECOND_TRAINER, details)
        if other is None:
            self._write_all_again(registration)
        else:
            self._farewell = details
            self.fall_silent()
        logger.warning("%s", details["reason"])

    def _superseded(self, registration: RunRegistration, other: RunOwnership) -> dict[str, Any]:
        """Return the details of the event that `other` reports the run instead of this trainer."""
        own = registration.owner
        is_named = other.host is not None and other.token != own.token  # earlier versions write no name
        name = f"{other.host}, process {other.pid}" if is_named else "of an earlier version"
        return {
            **_start(registration),
            "start_number": other.start_number,
            "reason": f"Another trainer ({name}), started later, reports as this run; the one on {own.host}, "
            f"process {own.pid}, has stopped reporting to the store. It trains on and keeps its records in "
            f"{self._directory.root}: end one of the two.",
        }

    def _open_again(self, registration: RunRegistration, step: int, why: str) -> dict[str, Any]:
        """Open the run in a store that does not know this start of it; return the details of the event about that."""
        run_id, now = self._run.run_id, time.time()
        span = self._store.series.span(run_id)
        registration.again_in_store(self._store)
        self._store.runs.update(run_id, **{**self._row, "step": step, "heartbeat_at": now, "progress_at": now})
        first, records = 0 if span is None else span[1] + 1, self._copies.find(compares=True)
        details = {
            "first_step": first,
            "last_step": step,
            "records": records,
            "reason": f"The store was {why} under this run, which is open there again. {_missing(first, step)}; "
            f"{records} records are copied from their files.",
        }
        self._store.events.add_first(run_id, step, STORE_REPLACED, details)
        return details

    def _write_all_again(self, registration: RunRegistration) -> None:
        """Write snapshot, ranks and heartbeat at the next turn, whether or not they have changed."""
        self._run.confirm(registration.owner.token)
        self._written_snapshot, self._written_statuses = None, ()
        self._are_copies_known = True
        self.force_heartbeat()


def _start(registration: RunRegistration) -> dict[str, Any]:
    """Return a trainer and its start as details of an event."""
    owner = registration.owner
    return {"host": owner.host, "pid": owner.pid, "start_number": registration.number}


def _missing(first: int, last: int) -> str:
    return f"Log points of the steps {first} to {last} are missing" if first <= last else "No log point is missing"
