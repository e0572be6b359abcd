"""Writes checkpoints on a separate thread: the training thread passes states being copied and continues.

One state is written at a time. Each queued state holds a copy of all weights, so at most two are queued: a newer state
supersedes an older one, which is then never written, unless the older one is

    the best so far, and no newer queued state is: it is the only one with those weights
    requested by command, and no newer queued state is

If both of these are queued and a third state arrives, the commanded one is superseded: the next newer state inherits
the reason COMMAND, so that it is never pruned. States of the same step are merged.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from ddp.checkpoint.folder import LAST_REASONS, CheckpointFolder, Reason, checkpoint_name
from service.background_thread import BackgroundThread, ErrorBoundary
from service.errors import reason_and_remedy
from service.run.trainer_stats import TrainerStats

MAX_QUEUED = 2
PAUSE_SECONDS = 0.005
"""How long the training thread has the interpreter for itself, again and again while a state is being written."""
_NICENESS = 10

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PendingCheckpoint:
    """A state to be written.

    The writer thread calls `build`, which waits for the copy and returns the state on the CPU. It then
    calls `on_written(step, problem)`: the step that was written, which is this one or a newer one that superseded it,
    and the error message, or None once the state is durable and verified. `on_written` must not wait for the writer.
    `release` is called once the state is not needed any more, written or superseded.
    """

    step: int
    build: Callable[[], dict[str, Any]]
    reason: Reason
    is_best: bool
    on_written: Callable[[int, str | None], None]
    release: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class _QueuedCheckpoint:
    """A checkpoint with the listeners of its own and of those that it superseded."""

    checkpoint: PendingCheckpoint
    listeners: tuple[Callable[[int, str | None], None], ...]


class CheckpointWriter:
    """Writes checkpoints in the background and prunes after each. Only the training thread calls public methods."""

    def __init__(self, folder: CheckpointFolder, keep: Callable[[], int]) -> None:
        """`keep()` returns the number of states that pruning keeps, and is called each time; 0 keeps all."""
        self._stats: TrainerStats = {"checkpoints_written": 0, "checkpoint_failures": 0}
        self._folder = folder
        self._keep = keep
        self._changed = threading.Condition()
        self._queue: list[_QueuedCheckpoint] = []
        self._is_writing = False
        self._is_urgent = threading.Event()
        self._problem: str | None = None
        self._boundary = ErrorBoundary(logger)
        self._thread = BackgroundThread(
            "checkpoint writer",
            self._write_waiting,
            boundary=self._boundary,
            error_message="The checkpoint writer met an unexpected error; it goes on.",
            at_end=self._write_waiting,
        )
        self._thread.start()

    def submit(self, checkpoint: PendingCheckpoint) -> None:
        """Queue a state for writing; return immediately. Raises `RuntimeError` after `close`."""
        with self._changed:
            if self._thread.is_closing:
                raise RuntimeError(f"The checkpoint of step {checkpoint.step} came after the writer was closed.")
            self._queue = _enqueued(self._queue, checkpoint)
        self._thread.wake()

    def drain(self) -> str | None:
        """Wait until the queue is empty and all listeners ran; return the last state's error message, or None."""
        self._is_urgent.set()
        with self._changed:
            self._changed.wait_for(lambda: not self._queue and not self._is_writing)
            self._is_urgent.clear()
            return self._problem

    def stats(self) -> TrainerStats:
        """Return statistics of the last write and counts of successes and failures. Thread-safe."""
        return self._stats

    def close(self) -> None:
        """Write everything queued, and end the thread."""
        self._is_urgent.set()
        self._thread.close()

    # On the writer thread

    def _write_waiting(self) -> None:
        _lower_priority()
        while self._write_next():
            pass

    def _write_next(self) -> bool:
        """Write one state; return False if none is queued. A separate method, so that the copy is freed on return."""
        queued = self._take()
        if queued is None:
            return False
        problem = self._write(queued.checkpoint)
        queued.checkpoint.release()
        for listener in queued.listeners:
            with self._boundary.guard("The checkpoint writer could not tell of a checkpoint."):
                listener(queued.checkpoint.step, problem)
        if problem is None:
            with self._boundary.guard("The checkpoint writer could not prune checkpoints."):
                self._prune()
        with self._changed:
            self._problem = problem
            self._is_writing = False
            self._changed.notify_all()
        return True

    def _pause(self) -> None:
        """Give way to the training thread for a moment, unless it waits for this one."""
        self._is_urgent.wait(PAUSE_SECONDS)

    def _prune(self) -> None:
        removed = self._folder.prune(self._keep())
        if removed:
            logger.info("Checkpoints removed: %s.", ", ".join(map(checkpoint_name, removed)))

    def _take(self) -> _QueuedCheckpoint | None:
        with self._changed:
            if not self._queue:
                return None
            self._is_writing = True
            return self._queue.pop(0)

    def _write(self, checkpoint: PendingCheckpoint) -> str | None:
        name, began = checkpoint_name(checkpoint.step), time.monotonic()
        try:
            state, is_best = checkpoint.build(), checkpoint.is_best
            size_bytes = self._folder.save(
                checkpoint.step, state, reason=checkpoint.reason, is_best=is_best, pause=self._pause
            ).size_bytes()
        except OSError as error:
            problem = f"{name} could not be written ({reason_and_remedy(error)})"
            self._report_failure(checkpoint, problem)
        except Exception as error:  # noqa: BLE001 - reported with its traceback; listeners must run after any error
            problem = f"{name} could not be written ({type(error).__name__}: {error})"
            self._report_failure(checkpoint, problem, error)
        else:
            self._count_written(checkpoint.step, time.monotonic() - began, size_bytes)
            return None
        return problem

    def _report_failure(self, checkpoint: PendingCheckpoint, problem: str, defect: Exception | None = None) -> None:
        """Log and count a failure once, however often it is tried again; `defect` is logged with its traceback."""
        if problem == self._problem:
            return
        goes_on = "" if checkpoint.reason in LAST_REASONS else ", and training goes on"
        report = logger.warning if defect is None else logger.error
        remains = self._folder.newest_sentence(checkpoint.step)
        report("Checkpoint %s; %s%s.", problem, remains, goes_on, exc_info=defect)
        self._stats = {**self._stats, "checkpoint_failures": self._stats["checkpoint_failures"] + 1}

    def _count_written(self, step: int, seconds: float, size_bytes: int) -> None:
        self._stats = {
            **self._stats,
            "checkpoint_step": step,
            "checkpoint_time": time.time(),
            "checkpoint_seconds": seconds,
            "checkpoint_bytes": size_bytes,
            "checkpoints_written": self._stats["checkpoints_written"] + 1,
        }


def _enqueued(queue: list[_QueuedCheckpoint], checkpoint: PendingCheckpoint) -> list[_QueuedCheckpoint]:
    """Return the queue after `checkpoint` was added, oldest first, with at most MAX_QUEUED entries."""
    queue = [*queue, _QueuedCheckpoint(checkpoint, (checkpoint.on_written,))]
    for index in reversed(range(len(queue) - 1)):
        if not _is_last_best(queue, index) and not _is_last_command(queue, index):
            _supersede(queue, index)
    if len(queue) > MAX_QUEUED:
        _supersede(queue, next(index for index in range(len(queue)) if not _is_last_best(queue, index)))
    return queue


def _is_last_best(queue: list[_QueuedCheckpoint], index: int) -> bool:
    return _is_last(queue, index, lambda checkpoint: checkpoint.is_best)


def _is_last_command(queue: list[_QueuedCheckpoint], index: int) -> bool:
    return _is_last(queue, index, lambda checkpoint: checkpoint.reason is Reason.COMMAND)


def _is_last(queue: list[_QueuedCheckpoint], index: int, is_such: Callable[[PendingCheckpoint], bool]) -> bool:
    """Whether `is_such` holds for this state, but for no newer queued one, and no newer one is of the same step."""
    this, *newer = (queued.checkpoint for queued in queue[index:])
    return is_such(this) and not any(is_such(other) or other.step == this.step for other in newer)


def _supersede(queue: list[_QueuedCheckpoint], index: int) -> None:
    """Drop a state; the next newer one inherits its listeners, the reason COMMAND, and `is_best` of the same step."""
    older = queue.pop(index)
    older.checkpoint.release()
    newer = queue[index].checkpoint
    is_commanded = Reason.COMMAND in (older.checkpoint.reason, newer.reason)
    superseding = replace(
        newer,
        reason=Reason.COMMAND if is_commanded else newer.reason,
        is_best=newer.is_best or (older.checkpoint.is_best and older.checkpoint.step == newer.step),
    )
    queue[index] = _QueuedCheckpoint(superseding, (*older.listeners, *queue[index].listeners))


def _lower_priority() -> None:
    """Lower this thread's priority below training. Only on Linux, where niceness applies to a single thread."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
