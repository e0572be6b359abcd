"""What waits to be written to the store: filled by any thread, written by the recorder's, many things at a time."""

import logging
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ddp.watchdog.rank_status import RankStatus
from service.store.queries.ranks import RankRow
from service.store.store import Store, StoreUnavailableError

LOG_POINTS_KEPT = 10_000
WRITINGS_TOGETHER = 100

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _PendingWrite:
    apply: Callable[[Store], object]
    is_log_point: bool


@dataclass(frozen=True)
class _Batch:
    """Writings of one transaction; by the mark the store knows it again."""

    writings: Sequence[_PendingWrite]
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)


class _NotStorableError(Exception):
    def __init__(self, writing: _PendingWrite) -> None:
        self.writing = writing


class StoreWriter:
    """Writings in their order, each written once. Only log points are ever dropped, beyond a bound: see `dropped`.

    Log points come from one thread, and one thread writes. No lock: right after a step's computing, taking one costs
    the training thread more than all the rest of a hand-over, and appending to a deque is one act of the interpreter.
    """

    def __init__(self, store: Store, run_id: str) -> None:
        self.dropped = 0
        self._store = store
        self._run_id = run_id
        self._writings: deque[_PendingWrite] = deque()
        self._log_points_in = 0
        self._log_points_out = 0
        self._unconfirmed: _Batch | None = None

    def __len__(self) -> int:
        return len(self._writings)

    def add(self, apply: Callable[[Store], object], *, is_log_point: bool = False) -> None:
        """Queue one thing to do with the store."""
        if is_log_point:
            if self._log_points_in - self._log_points_out >= LOG_POINTS_KEPT:
                self.dropped += 1
                return
            self._log_points_in += 1
        self._writings.append(_PendingWrite(apply, is_log_point))

    def write(self) -> None:
        """Write what waits, many things in one transaction: each costs a wait for the disk.

        Raises `StoreUnavailableError`; what was not written stays.
        """
        while self._writings:
            try:
                self._write_first()
            except _NotStorableError as error:
                logger.exception("One writing to the store is not storable and was dropped.", exc_info=error.__cause__)
                self._unconfirmed = None
                self._take_out([error.writing])

    def _write_first(self) -> None:
        """Write the first so many, or what may have been written before the connection to the store was lost."""
        batch = self._unconfirmed or _Batch(self._first())
        with self._store.transaction_scope():
            if batch is not self._unconfirmed or not self._store.runs.has_write_marker(self._run_id, batch.mark):
                self._unconfirmed = batch
                self._apply(batch)
        self._unconfirmed = None
        self._take_out(batch.writings)

    def _apply(self, batch: _Batch) -> None:
        for writing in batch.writings:
            try:
                writing.apply(self._store)
            except StoreUnavailableError:
                raise
            except Exception as error:  # a defect in one must not keep back all others for ever
                raise _NotStorableError(writing) from error
        self._store.runs.set_write_marker(self._run_id, batch.mark)

    def _first(self) -> list[_PendingWrite]:
        """By their places: others may append meanwhile, which an iterator would not bear."""
        return [self._writings[place] for place in range(min(len(self._writings), WRITINGS_TOGETHER))]

    def _take_out(self, writings: Sequence[_PendingWrite]) -> None:
        for writing in writings:
            self._writings.remove(writing)  # among the first
            self._log_points_out += writing.is_log_point


def rank_row(status: RankStatus, now: float) -> RankRow:
    """The store's row of a rank at the Unix time `now`."""
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
        stacked_at=None if status.stacked_seconds is None else now - status.stacked_seconds,
    )
