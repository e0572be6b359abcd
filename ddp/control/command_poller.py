"""Moves due commands from the store's queue into rank 0's command queue, on a thread of its own.

The thread does nothing else, so that a command does not wait while the recorder's thread waits for the disk. Most
commands begin immediately. One with `apply_at_step` stays queued in the store, where it can be cancelled, until its
step is near; it expires if its `expires_at` passes before.
"""

import logging
import math
import time
from collections.abc import Callable

from ddp.control.command_queue import CommandQueue
from service.background_thread import BackgroundThread, ErrorBoundary
from service.commands import Command, CommandState
from service.store.change_poll import ChangePoller
from service.store.store import Store, StoreUnavailableError

POLL_SECONDS = 0.05
RETRY_SECONDS = 2.0
"""Pause after the store could not be reached."""

LEAD_SECONDS = 2.0
"""Time between a command's beginning and its step: the control word needs a few steps, a busy store more."""
LEAD_STEPS = 3
INITIAL_LEAD_STEPS = 1000
"""Lead while the step rate is unknown."""

logger = logging.getLogger(__name__)


class CommandPoller:
    """Polls the store for commands. A poll queries only if the store was written to, or a command is due or expires."""

    def __init__(self, store: Store, run_id: str, command_queue: CommandQueue, owner: str | None = None) -> None:
        """With `owner`, a trainer's token, commands begin only as long as that trainer reports the run."""
        self._store = store
        self._owner = {} if owner is None else {"owner": owner}
        self._run_id = run_id
        self._command_queue = command_queue
        self._change_poller = ChangePoller(store, run_id)
        self._waiting: list[Command] = []
        self._unconfirmed: Command | None = None
        self._step_rate = _StepRate()
        self._retry_at = 0.0
        self._step: Callable[[], int] = lambda: 0
        self._thread = BackgroundThread(
            "commands",
            self._poll_if_reachable,
            interval_seconds=POLL_SECONDS,
            boundary=ErrorBoundary(logger),
            error_message="The search for commands met an unexpected error; it goes on.",
        )

    def start(self, step: Callable[[], int]) -> None:
        """Start to poll; `step()` returns the last completed step. Call it once."""
        self._step = step
        self._thread.start()

    def close(self, timeout_seconds: float | None = None) -> None:
        """Stop polling, and wait for that, at most `timeout_seconds`; commands that were begun stay in the queue."""
        self._thread.close(timeout_seconds)

    def _poll_if_reachable(self) -> None:
        """Poll, or wait for RETRY_SECONDS after a failure, which the recorder's thread reports."""
        if (now := time.monotonic()) < self._retry_at:
            return
        try:
            self.poll(self._step())
        except StoreUnavailableError:
            self._retry_at = now + RETRY_SECONDS

    def poll(self, step: int) -> None:
        """Begin the commands that are due; `step` is the last completed step. Raises `StoreUnavailableError`."""
        self._step_rate.note(step, time.monotonic())
        if self._unconfirmed is not None:
            self._begin(self._unconfirmed)
        now = time.time()
        is_command_due = any(self._is_due(item, step) or _is_expired(item, now) for item in self._waiting)
        if not self._change_poller.is_due(time.monotonic()) and not is_command_due:
            return
        if not self._store.commands.has_any(self._run_id, CommandState.QUEUED):
            self._waiting = []
            return
        queued = self._store.commands.find(self._run_id, CommandState.QUEUED)
        if any(_is_expired(item, now) for item in queued):
            self._store.commands.expire(self._run_id, now)
            queued = self._store.commands.find(self._run_id, CommandState.QUEUED)
        self._waiting = []
        for command in queued:
            if not self._is_due(command, step):
                self._waiting.append(command)
            else:
                self._begin(command)

    def take_unexecuted(self) -> list[Command]:
        """Take out the commands that were begun and that no boundary has executed, for a run that ends."""
        return self._command_queue.take_all()

    def _begin(self, command: Command) -> None:
        """Mark a command as running and queue it, unless it was cancelled.

        The connection may be lost after the store has committed the state, so the next poll checks the state again.
        """
        is_retry, self._unconfirmed = command is self._unconfirmed, command
        has_begun = self._store.commands.begin(command.id, **self._owner) or (is_retry and self._is_running(command))
        self._unconfirmed = None
        if has_begun:
            self._command_queue.put(command)

    def _is_running(self, command: Command) -> bool:
        stored = self._store.commands.get(command.id)
        return stored is not None and stored.state is CommandState.RUNNING

    def _is_due(self, command: Command, step: int) -> bool:
        return command.apply_at_step is None or command.apply_at_step - step <= self._step_rate.lead_steps()


def _is_expired(command: Command, now: float) -> bool:
    return command.expires_at is not None and command.expires_at <= now


class _StepRate:
    """Step rate over the last second with progress; a pause does not change it."""

    def __init__(self) -> None:
        self._steps_per_second: float | None = None
        self._since: tuple[int, float] = (0, float("-inf"))

    def note(self, step: int, now: float) -> None:
        """Add a sample: `step` is the last completed step at the monotonic time `now` (s)."""
        first_step, since = self._since
        if now - since < 1.0 and step >= first_step:
            return
        if first_step < step and since > 0:
            self._steps_per_second = (step - first_step) / (now - since)
        self._since = (step, now)

    def lead_steps(self) -> int:
        """Return how many steps before its `apply_at_step` a command must begin."""
        if self._steps_per_second is None:
            return INITIAL_LEAD_STEPS
        return max(LEAD_STEPS, math.ceil(LEAD_SECONDS * self._steps_per_second))
