"""Agreement of all ranks on the commands to execute at a step boundary.

The control word is 16 bytes, (operations, next check step), combined by a bitwise OR over all ranks on the gloo group:
rank 0 contributes commands and the step of the next check, any rank contributes LEAVE after a shutdown signal. It is
sent after the last backward of a step and awaited at the step's end, so that the exchange overlaps with the optimizer.
It is sent at most sixteen times a second: the word contains the next check, and steps in between have no collective.
gloo passes it through all ranks twice, one after the other, so on thousands of ranks it takes longer than the optimizer
hides; then it is sent as seldom as keeps rank 0's waiting below WAIT_SHARE of the time.
"""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ddp.control.command_queue import CommandQueue
from ddp.distributed.world import PendingAgreement, World
from service.commands import Command, CommandBits, Kind

CHECK_SECONDS = 0.06
WAIT_SHARE = 0.03
MAX_CHECK_SECONDS = 1.0
"""Longest time without a word, however long each takes: a command with `apply_at_step` comes two seconds ahead."""
RECENT_WAITS = 8
"""Waits whose shortest tells what a word costs; the others contain ranks that came late for other reasons."""
PAUSED_CHECK_SECONDS = 0.25
"""Longest time without a word while paused; rank 0 sends one at once when a command arrives."""


@dataclass(frozen=True)
class AgreedCommands:
    """Operations of one boundary, the same on all ranks, and their commands, on rank 0 only.

    `missed` are commands whose `apply_at_step` has passed; they must be rejected.
    """

    operations: CommandBits
    commands: tuple[Command, ...]
    missed: tuple[Command, ...] = ()

    def of(self, kind: Kind) -> tuple[Command, ...]:
        """Return the commands of one kind."""
        return tuple(command for command in self.commands if command.kind is kind)


NO_COMMANDS = AgreedCommands(CommandBits.NONE, ())


class RankAgreement:
    """One rank's side of the agreement. All ranks call every method at the same step."""

    def __init__(
        self,
        world: World,
        command_queue: CommandQueue,
        is_shutdown_requested: Callable[[], bool],
        first_check_step: int,
    ) -> None:
        self._world = world
        self._command_queue = command_queue
        self._is_shutdown_requested = is_shutdown_requested
        self._next_check = first_check_step
        self._sent: tuple[PendingAgreement, list[Command], list[Command]] | None = None
        self._last_check = (first_check_step, time.monotonic())
        self._waits: deque[float] = deque(maxlen=RECENT_WAITS)

    def send(self, step: int) -> None:
        """Send this rank's control word if a check is due at `step`, the current step."""
        if step < self._next_check:
            return
        missed = self._command_queue.take_missed(step) if self._world.is_main else []
        commands = self._command_queue.take(step) if self._world.is_main else []
        operations = CommandBits.LEAVE if self._is_shutdown_requested() else CommandBits.NONE
        for command in commands:
            operations |= CommandBits.of(command.kind)
        next_check = self._next_after(step) if self._world.is_main else 0
        self._sent = self._world.agree(int(operations), next_check), commands, missed

    @property
    def is_pending(self) -> bool:
        """Whether a control word was sent and not received; the same on all ranks."""
        return self._sent is not None

    def receive(self) -> AgreedCommands:
        """Wait for the control word and return what all ranks agreed on; no operations if none was sent."""
        if self._sent is None:
            return NO_COMMANDS
        agreement, commands, missed = self._sent
        self._sent = None
        began = time.monotonic()
        operations, self._next_check = agreement.result()
        self._waits.append(time.monotonic() - began)
        return AgreedCommands(CommandBits(operations), tuple(commands), tuple(missed))

    def wait(self, step: int) -> AgreedCommands:
        """Agree once while paused: other ranks wait for rank 0, which waits for a command, but not for long."""
        if self._world.is_main and not self._is_shutdown_requested():
            self._command_queue.wait(PAUSED_CHECK_SECONDS, step)
        self._next_check = step
        self.send(step)
        agreed = self.receive()
        self._next_check = step + 1
        return agreed

    def put_back(self) -> None:
        """Put back the commands that were taken for a control word that has not been received."""
        if self._sent is not None:
            _, commands, missed = self._sent
            self._sent = None
            for command in (*missed, *commands):
                self._command_queue.put(command)

    def reset(self, step: int) -> None:
        """Make a check due at the next step on every rank, after a rollback to `step`."""
        self._next_check = step + 1
        self._last_check = (step + 1, time.monotonic())

    def _next_after(self, step: int) -> int:
        """Return the step of the next check: `check_seconds` from now, or earlier at a command's `apply_at_step`."""
        regular = step + self._steps_until_check(step)
        wanted = self._command_queue.next_step(step)
        return regular if wanted is None else min(regular, wanted)

    def _steps_until_check(self, step: int) -> int:
        """Return the number of steps until the next check, so that checks are at least `check_seconds` apart."""
        last_step, last_time = self._last_check
        now = time.monotonic()
        self._last_check = (step, now)
        if step <= last_step or now <= last_time:
            return 1
        seconds_per_step = (now - last_time) / (step - last_step)
        shortest_wait = min(self._waits) if len(self._waits) == RECENT_WAITS else 0.0
        return max(1, math.ceil(check_seconds(shortest_wait) / seconds_per_step))


def check_seconds(wait_seconds: float) -> float:
    """Return the time between two words of which each lets rank 0 wait so long."""
    return min(MAX_CHECK_SECONDS, max(CHECK_SECONDS, wait_seconds / WAIT_SHARE))
