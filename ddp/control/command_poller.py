"""Receives commands: from the store's queue into the inbox, each at its time. Used by the recorder's thread.

Most begin at once. One with `apply_at_step` stays queued, where it can be cancelled, until its step is near; one whose
`expires_at` passes first expires.
"""

import math
import time

from ddp.control.command_queue import CommandQueue
from service.commands import Command, CommandState
from service.store.change_poll import ChangePoller
from service.store.store import Store

LEAD_SECONDS = 2.0
"""How long before its step a command begins: the control word needs a quarter of a second, a busy store some more."""
LEAD_STEPS = 3
LEAD_STEPS_AT_FIRST = 1000
"""Before it is known how fast steps are made."""


class CommandPoller:
    """Looks for queued commands. A look costs no query unless somebody wrote to the store, or a time has come."""

    def __init__(self, store: Store, run_id: str, command_queue: CommandQueue) -> None:
        self._store = store
        self._run_id = run_id
        self._command_queue = command_queue
        self._watch = ChangePoller(store, run_id)
        self._waiting: list[Command] = []
        self._unheard: Command | None = None
        self._pace = _StepRate()

    def poll(self, step: int) -> None:
        """Begin what is to begin now; `step` is the last one made. Raises `StoreUnavailableError`."""
        self._pace.note(step, time.monotonic())
        if self._unheard is not None:
            self._begin(self._unheard)
        now = time.time()
        has_time_come = any(self._is_near(item, step) or _is_over(item, now) for item in self._waiting)
        if not self._watch.is_due(time.monotonic()) and not has_time_come:
            return
        queued = self._store.commands.find(self._run_id, CommandState.QUEUED)
        if any(_is_over(item, now) for item in queued):
            self._store.commands.expire(self._run_id, now)
            queued = self._store.commands.find(self._run_id, CommandState.QUEUED)
        self._waiting = []
        for command in queued:
            if not self._is_near(command, step):
                self._waiting.append(command)
            else:
                self._begin(command)

    def take_unexecuted(self) -> list[Command]:
        """Take out the commands that were begun and that no boundary has executed, for a run that ends."""
        return self._command_queue.take_all()

    def _begin(self, command: Command) -> None:
        """Put it into the inbox, unless it was cancelled before.

        The store may keep the beginning and the connection be lost before that is heard, so it is asked again.
        """
        is_again, self._unheard = command is self._unheard, command
        has_begun = self._store.commands.begin(command.id) or (is_again and self._is_running(command))
        self._unheard = None
        if has_begun:
            self._command_queue.put(command)

    def _is_running(self, command: Command) -> bool:
        now = self._store.commands.get(command.id)
        return now is not None and now.state is CommandState.RUNNING

    def _is_near(self, command: Command, step: int) -> bool:
        return command.apply_at_step is None or command.apply_at_step - step <= self._pace.lead_steps()


def _is_over(command: Command, now: float) -> bool:
    return command.expires_at is not None and command.expires_at <= now


class _StepRate:
    """How fast steps are made, over the last second in which some were: after a pause it is as it was before."""

    def __init__(self) -> None:
        self._steps_per_second: float | None = None
        self._since: tuple[int, float] = (0, float("-inf"))

    def note(self, step: int, now: float) -> None:
        """`step` is the last one made at the monotonic time `now`."""
        first_step, since = self._since
        if now - since < 1.0 and step >= first_step:
            return
        if first_step < step and since > 0:
            self._steps_per_second = (step - first_step) / (now - since)
        self._since = (step, now)

    def lead_steps(self) -> int:
        """How many steps before its own a command is to begin."""
        if self._steps_per_second is None:
            return LEAD_STEPS_AT_FIRST
        return max(LEAD_STEPS, math.ceil(LEAD_SECONDS * self._steps_per_second))
