"""Checkpoints are written by a thread of their own: the training thread hands over copies and goes on.

One state is written at a time. Each state that waits holds a copy of all weights, so at most two wait: a newer one
takes the place of an older one, which is then written never, unless the older one is

    the best so far, and no newer one that waits is: it is the only one with those weights
    asked for by command, and no newer one that waits is

When both of these wait already and a third state comes, the commanded one gives way: the next newer state is written
as commanded in its place, so that pruning spares it. States of the same step are one.
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

from ddp.checkpoint.folder import CheckpointFolder, Reason, checkpoint_name
from service.background_thread import BackgroundThread, ErrorBoundary
from service.run.trainer_stats import TrainerStats

MOST_WAITING = 2
_NICENESS = 10

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PendingCheckpoint:
    """A state on its way to the disk.

    `build` is called on the writer thread: it waits for copies from the device and gives the state on the CPU.
    `on_written` is called on the writer thread with the step of the state that was written, this one or a newer one
    that took its place, and the problem, or None once it is durable and verified. It must not wait for the writer.
    """

    step: int
    build: Callable[[], dict[str, Any]]
    reason: Reason
    is_best: bool
    on_written: Callable[[int, str | None], None]


@dataclass(frozen=True)
class _Waiting:
    """A snapshot, and its listeners: its own and those of the snapshots whose place it took."""

    snapshot: PendingCheckpoint
    listeners: tuple[Callable[[int, str | None], None], ...]


class CheckpointWriter:
    """Writes snapshots in the background and prunes after each. Public methods are for one thread, the training's."""

    def __init__(self, folder: CheckpointFolder, keep: Callable[[], int]) -> None:
        """`keep` gives the number of states that pruning leaves, asked anew each time; 0 keeps all."""
        self._stats: TrainerStats = {"checkpoints_written": 0, "checkpoint_failures": 0}
        self._folder = folder
        self._keep = keep
        self._changed = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._is_writing = False
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

    def submit(self, snapshot: PendingCheckpoint) -> None:
        """Have a state written; returns at once."""
        with self._changed:
            if self._thread.is_closing:
                raise RuntimeError(f"The checkpoint of step {snapshot.step} came after the writer was closed.")
            self._waiting = _with_newer(self._waiting, snapshot)
        self._thread.wake()

    def drain(self) -> str | None:
        """Wait until everything is written and told; the problem of the last state, or None when it was written."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._is_writing)
            return self._problem

    def stats(self) -> TrainerStats:
        """What was written last, and how often that worked and failed; from any thread."""
        return self._stats

    def close(self) -> None:
        """Write what waits and end the thread."""
        self._thread.close()

    # The thread

    def _write_waiting(self) -> None:
        _give_way()
        while self._write_next():
            pass

    def _write_next(self) -> bool:
        """Write one state; False when none waits. A method of its own, so that no copy of the weights outlives it."""
        waiting = self._take()
        if waiting is None:
            return False
        problem = self._write(waiting.snapshot)
        for listener in waiting.listeners:
            with self._boundary.guard("The checkpoint writer could not tell of a checkpoint."):
                listener(waiting.snapshot.step, problem)
        if problem is None:
            with self._boundary.guard("The checkpoint writer could not prune checkpoints."):
                self._prune()
        with self._changed:
            self._problem = problem
            self._is_writing = False
            self._changed.notify_all()
        return True

    def _prune(self) -> None:
        removed = self._folder.prune(self._keep())
        if removed:
            logger.info("Checkpoints removed: %s.", ", ".join(map(checkpoint_name, removed)))

    def _take(self) -> _Waiting | None:
        with self._changed:
            if not self._waiting:
                return None
            self._is_writing = True
            return self._waiting.pop(0)

    def _write(self, snapshot: PendingCheckpoint) -> str | None:
        name, began = checkpoint_name(snapshot.step), time.monotonic()
        try:
            state, is_best = snapshot.build(), snapshot.is_best
            size_bytes = self._folder.save(snapshot.step, state, reason=snapshot.reason, is_best=is_best).size_bytes()
        except OSError as error:
            problem = f"{name} could not be written ({error.strerror or error})"
            logger.warning("Checkpoint %s; the one before stays and training goes on.", problem)
        except Exception as error:  # whatever it was, who waits for this state is told
            logger.exception("Checkpoint %s could not be written; the one before stays and training goes on.", name)
            problem = f"{name} could not be written ({type(error).__name__}: {error})"
        else:
            self._note_written(snapshot.step, time.monotonic() - began, size_bytes)
            return None
        self._stats = {**self._stats, "checkpoint_failures": self._stats["checkpoint_failures"] + 1}
        return problem

    def _note_written(self, step: int, seconds: float, size_bytes: int) -> None:
        self._stats = {
            **self._stats,
            "checkpoint_step": step,
            "checkpoint_time": time.time(),
            "checkpoint_seconds": seconds,
            "checkpoint_bytes": size_bytes,
            "checkpoints_written": self._stats["checkpoints_written"] + 1,
        }


def _with_newer(waiting: list[_Waiting], snapshot: PendingCheckpoint) -> list[_Waiting]:
    """What waits once `snapshot` has come, oldest first: at most two."""
    queue = [*waiting, _Waiting(snapshot, (snapshot.on_written,))]
    for index in reversed(range(len(queue) - 1)):
        if not _is_last_best(queue, index) and not _is_last_command(queue, index):
            _give_place(queue, index)
    if len(queue) > MOST_WAITING:
        _give_place(queue, next(index for index in range(len(queue)) if not _is_last_best(queue, index)))
    return queue


def _is_last_best(queue: list[_Waiting], index: int) -> bool:
    return _is_last(queue, index, lambda snapshot: snapshot.is_best)


def _is_last_command(queue: list[_Waiting], index: int) -> bool:
    return _is_last(queue, index, lambda snapshot: snapshot.reason is Reason.COMMAND)


def _is_last(queue: list[_Waiting], index: int, is_such: Callable[[PendingCheckpoint], bool]) -> bool:
    """Whether this state is such a one and none that waits behind it is, nor can stand for it as of the same step."""
    this, *newer = (waiting.snapshot for waiting in queue[index:])
    return is_such(this) and not any(is_such(other) or other.step == this.step for other in newer)


def _give_place(queue: list[_Waiting], index: int) -> None:
    """Drop a state; the next newer one takes over its listeners, and what protects it where that is still true."""
    older = queue.pop(index)
    newer = queue[index].snapshot
    is_commanded = Reason.COMMAND in (older.snapshot.reason, newer.reason)
    snapshot = replace(
        newer,
        reason=Reason.COMMAND if is_commanded else newer.reason,
        is_best=newer.is_best or (older.snapshot.is_best and older.snapshot.step == newer.step),
    )
    queue[index] = _Waiting(snapshot, (*older.listeners, *queue[index].listeners))


def _give_way() -> None:
    """Let the training's threads go first. On Linux niceness belongs to a thread, elsewhere to the whole process."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
