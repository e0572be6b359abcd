"""How all ranks agree, at the same step boundary, on what people asked for.

The control word is 16 bytes, (operations, next check step), combined by a bitwise OR over all ranks on the gloo group:
rank 0 contributes commands and the next step to check, any rank contributes the wish to leave after a signal. It is
sent after the last backward of a step and awaited at the step's end, so it travels while the optimizer works. It is
sent at most four times a second: the word itself names the next check, and the steps between have no collective.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from ddp.control.command_queue import CommandQueue
from ddp.distributed.world import PendingAgreement, World
from service.commands import Command, CommandBits, Kind

CHECK_SECONDS = 0.25


@dataclass(frozen=True)
class AgreedCommands:
    """What one boundary has to do: the same operations on all ranks; the commands behind them on rank 0 only.

    `missed` are commands whose own step is over; they are to be refused.
    """

    operations: CommandBits
    commands: tuple[Command, ...]
    missed: tuple[Command, ...] = ()

    def of(self, kind: Kind) -> tuple[Command, ...]:
        """The commands of one kind."""
        return tuple(command for command in self.commands if command.kind is kind)


NOTHING = AgreedCommands(CommandBits.NONE, ())


class RankAgreement:
    """One rank's end of the agreement. Every method that sends is called by all ranks at the same step."""

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

    def send(self, step: int) -> None:
        """Send this rank's word if `step`, the step being made, is one to check."""
        if step < self._next_check:
            return
        missed = self._command_queue.take_missed(step) if self._world.is_main else []
        commands = self._command_queue.take(step) if self._world.is_main else []
        operations = CommandBits.LEAVE if self._is_shutdown_requested() else CommandBits.NONE
        for command in commands:
            operations |= CommandBits.of(command.kind)
        next_check = self._next_after(step) if self._world.is_main else 0
        self._sent = self._world.agree(int(operations), next_check), commands, missed

    def receive(self) -> AgreedCommands:
        """What all ranks agreed on at the end of this step."""
        if self._sent is None:
            return NOTHING
        agreement, commands, missed = self._sent
        self._sent = None
        operations, self._next_check = agreement.result()
        return AgreedCommands(CommandBits(operations), tuple(commands), tuple(missed))

    def wait(self, step: int) -> AgreedCommands:
        """One turn while paused: rank 0 waits up to a quarter of a second for a command, the others for rank 0."""
        if self._world.is_main and not self._is_shutdown_requested():
            self._command_queue.wait(CHECK_SECONDS, step)
        self._next_check = step
        self.send(step)
        agreed = self.receive()
        self._next_check = step + 1
        return agreed

    def reset(self, step: int) -> None:
        """The run was set back to `step`: the next step is one to check, on every rank."""
        self._next_check = step + 1
        self._last_check = (step + 1, time.monotonic())

    def _next_after(self, step: int) -> int:
        """The next step to check: after a quarter of a second, or earlier where a command waits for its step."""
        after_a_while = step + self._stride(step)
        wanted = self._command_queue.next_step(step)
        return after_a_while if wanted is None else min(after_a_while, wanted)

    def _stride(self, step: int) -> int:
        """Steps until the next check, so that checks are at least CHECK_SECONDS apart."""
        last_step, last_time = self._last_check
        now = time.monotonic()
        self._last_check = (step, now)
        if step <= last_step or now <= last_time:
            return 1
        seconds_per_step = (now - last_time) / (step - last_step)
        return max(1, math.ceil(CHECK_SECONDS / seconds_per_step))
