"""Queue of writes to the store: any thread appends, the recorder's thread writes them in batches."""

import logging
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ddp.recording.registration import OwnedRun
from ddp.watchdog.rank_status import RankStatus
from service.store.queries.ranks import RankRow
from service.store.queries.runs import NotOwnerError
from service.store.store import Store, StoreConflictError, StoreUnavailableError

MAX_LOG_POINTS = 10_000
MAX_BATCH_SIZE = 100
MAX_TRIES = 3
"""How often a write is tried that contradicts what the store holds, before it is put aside."""

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _PendingWrite:
    apply: Callable[[Store], object]
    is_log_point: bool
    refusals: int = 0

    @property
    def what(self) -> str:
        """What it is, for a sentence."""
        return "log point" if self.is_log_point else "change of state or event"


@dataclass(frozen=True)
class _Batch:
    """Writes of one transaction; the marker shows whether the store has committed it."""

    writes: Sequence[_PendingWrite]
    marker: str = field(default_factory=lambda: uuid.uuid4().hex)


class _NotStorableError(Exception):
    def __init__(self, write: _PendingWrite) -> None:
        self.write = write


class _RefusedError(Exception):
    def __init__(self, write: _PendingWrite, reason: str) -> None:
        self.write, self.reason = write, reason


class StoreWriter:
    """Ordered queue that applies each write exactly once.

    Dropped are log points beyond MAX_LOG_POINTS, and what a store that can be used has refused MAX_TRIES times, because
    it must not keep everything else waiting. `dropped` counts the log points among both.

    One thread adds log points, and one thread writes. No lock: right after a step, acquiring one costs the training
    thread more than everything else in `add`, and appending to a deque is atomic.
    """

    def __init__(self, store: Store, run_id: str, run: OwnedRun | None = None) -> None:
        """With `run`, each transaction is refused with `NotOwnerError` once another trainer reports the run."""
        self.dropped = 0
        self._store = store
        self._run_id = run_id
        self._run = run or OwnedRun(store, run_id)
        self._writes: deque[_PendingWrite] = deque()
        self._log_points_added = 0
        self._log_points_removed = 0
        self._unconfirmed: _Batch | None = None
        self._has_put_aside = False

    def __len__(self) -> int:
        return len(self._writes)

    @property
    def log_points(self) -> int:
        """Queued writes that are log points."""
        return self._log_points_added - self._log_points_removed

    def add(self, apply: Callable[[Store], object], *, is_log_point: bool = False) -> None:
        """Append one write to the queue."""
        if is_log_point:
            if self.log_points >= MAX_LOG_POINTS:
                self.dropped += 1
                return
            self._log_points_added += 1
        self._writes.append(_PendingWrite(apply, is_log_point))

    def write(self) -> None:
        """Apply all queued writes, in batches of one transaction each, because every commit waits for the disk.

        Raises `StoreUnavailableError` or `NotOwnerError`; unwritten entries stay queued.
        """
        while self._writes:
            try:
                self._write_first()
            except _NotStorableError as error:
                logger.exception(
                    "A %s cannot be stored and is left out, which is a defect: report what follows; all else goes on.",
                    error.write.what,
                    exc_info=error.__cause__,
                )
                self._unconfirmed = None
                self._remove([error.write])
            except _RefusedError as error:
                self._unconfirmed = None
                self._count_refusal(error.write, error.reason)

    def clear(self) -> None:
        """Forget all queued writes."""
        self._writes.clear()
        self._unconfirmed = None
        self._log_points_removed = self._log_points_added

    def _count_refusal(self, write: _PendingWrite, reason: str) -> None:
        """Put a write aside that was refused too often; the first time it is logged and recorded as an event."""
        write.refusals += 1
        if write.refusals < MAX_TRIES:
            return
        self._remove([write])
        self.dropped += write.is_log_point
        if not self._has_put_aside:
            self._has_put_aside = True
            logger.warning(
                "A %s was refused by the store %d times (%s) and is put aside; all else goes on.",
                write.what,
                MAX_TRIES,
                reason,
            )
            self.add(lambda store: store.events.add(self._run_id, None, "put aside", {"reason": reason}))

    def _write_first(self) -> None:
        """Write the next batch, or first the one that may have been committed before the connection was lost."""
        batch = self._unconfirmed or _Batch(self._first())
        with self._store.transaction_scope(), self._store.run_transaction(self._run_id, announces=False):
            if batch is not self._unconfirmed or not self._run.has_committed(batch.marker):
                self._unconfirmed = batch
                self._apply(batch)
        self._run.confirm(batch.marker)
        self._unconfirmed = None
        self._remove(batch.writes)

    def _apply(self, batch: _Batch) -> None:
        for write in batch.writes:
            try:
                write.apply(self._store)
            except StoreConflictError as error:
                raise _RefusedError(write, str(error)) from error
            except (StoreUnavailableError, NotOwnerError):
                raise
            except Exception as error:  # one defective write must not block all others
                raise _NotStorableError(write) from error
        self._run.mark(batch.marker)

    def _first(self) -> list[_PendingWrite]:
        """Return the first writes; by index, since an iterator fails if another thread appends meanwhile."""
        return [self._writes[index] for index in range(min(len(self._writes), MAX_BATCH_SIZE))]

    def _remove(self, writes: Sequence[_PendingWrite]) -> None:
        for write in writes:
            self._writes.remove(write)  # cheap: it is near the start
            self._log_points_removed += write.is_log_point


def rank_row(status: RankStatus, now: float) -> RankRow:
    """Convert a rank's status at the Unix time `now` (s) to its row in the store."""
    return RankRow(
        rank=status.rank,
        time=now - status.silent_seconds,
        host=status.host,
        pid=status.pid,
        device=status.device,
        stage=status.stage.value,
        step=status.step,
        stage_seconds=status.stage_seconds,
        stack=status.stack,
        stacked_at=None if status.stack_age_seconds is None else now - status.stack_age_seconds,
    )
