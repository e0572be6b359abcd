"""How all ranks agree, at the same step boundary, on what people asked for.

The control word is 16 bytes, (operations, next check step), combined by a bitwise OR over all ranks on the gloo group:
rank 0 contributes commands and the next step to check, any rank contributes the wish to leave after a signal. It is
sent after the last backward of a step and awaited at the step's end, so it travels while the optimizer works. It is
sent at most four times a second: the word itself names the next check, and the steps between have no collective.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile

from ddp.world import Agreement, World
from service.commands import Command, Kind, Operation

CHECK_SECONDS = 0.25
_CONTRADICTS = {Kind.PAUSE: Operation.RESUME, Kind.RESUME: Operation.PAUSE}


class Inbox:
    """Commands that wait for a boundary: filled by rank 0's recorder thread, emptied by its training thread.

    A command with `apply_at_step` waits for the end of that very step; the others for the next boundary there is.
    """

    def __init__(self) -> None:
        self._waiting: deque[Command] = deque()
        self._arrived = threading.Condition()

    def put(self, command: Command) -> None:
        """Hand over a command that has begun."""
        with self._arrived:
            self._waiting.append(command)
            self._arrived.notify()

    def take(self, step: int) -> list[Command]:
        """What the end of `step` can carry out: in order, up to the first that contradicts an earlier one.

        A rollback goes first and alone: what else is due at this step comes when the run passes it again.
        """
        taken: list[Command] = []
        operations = Operation.NONE
        with self._arrived:
            due = [command for command in self._waiting if (command.apply_at_step or step) == step]
            for command in _rollback_alone(due) or due:
                if _ends_turn(operations, command.kind):
                    break
                self._waiting.remove(command)
                taken.append(command)
                operations |= Operation.of(command.kind)
        return taken

    def take_missed(self, step: int) -> list[Command]:
        """Commands whose own step is over before they could be carried out."""
        with self._arrived:
            missed = [command for command in self._waiting if (command.apply_at_step or step) < step]
            for command in missed:
                self._waiting.remove(command)
        return missed

    def next_step(self, step: int) -> int | None:
        """The earliest step after `step` for which a command waits, or None."""
        with self._arrived:
            wanted = [command.apply_at_step for command in self._waiting if (command.apply_at_step or 0) > step]
        return min((at for at in wanted if at is not None), default=None)

    def take_all(self) -> list[Command]:
        """Everything that still waits, for a run that ends."""
        with self._arrived:
            taken = list(self._waiting)
            self._waiting.clear()
        return taken

    def wait(self, seconds: float, step: int) -> None:
        """Return when a command waits that the boundary after `step` can carry out, or after this time."""
        with self._arrived:
            self._arrived.wait_for(
                lambda: any((command.apply_at_step or step) <= step for command in self._waiting), timeout=seconds
            )


def _rollback_alone(due: list[Command]) -> list[Command]:
    """The first rollback, unless the run is to stop before it."""
    before_stop = takewhile(lambda command: command.kind is not Kind.STOP, due)
    return [command for command in before_stop if command.kind is Kind.ROLLBACK][:1]


def _ends_turn(operations: Operation, kind: Kind) -> bool:
    return Operation.STOP in operations or bool(operations & _CONTRADICTS.get(kind, Operation.NONE))


@dataclass(frozen=True)
class Turn:
    """What one boundary has to do: the same operations on all ranks; the commands behind them on rank 0 only.

    `missed` are commands whose own step is over; they are to be refused.
    """

    operations: Operation
    commands: tuple[Command, ...]
    missed: tuple[Command, ...] = ()

    def of(self, kind: Kind) -> tuple[Command, ...]:
        """The commands of one kind."""
        return tuple(command for command in self.commands if command.kind is kind)


NOTHING = Turn(Operation.NONE, ())


class Control:
    """One rank's end of the agreement. Every method that sends is called by all ranks at the same step."""

    def __init__(self, world: World, inbox: Inbox, wants_to_leave: Callable[[], bool], first_check_step: int) -> None:
        self._world = world
        self._inbox = inbox
        self._wants_to_leave = wants_to_leave
        self._next_check = first_check_step
        self._sent: tuple[Agreement, list[Command], list[Command]] | None = None
        self._last_check = (first_check_step, time.monotonic())

    def send(self, step: int) -> None:
        """Send this rank's word if `step`, the step being made, is one to check."""
        if step < self._next_check:
            return
        missed = self._inbox.take_missed(step) if self._world.is_main else []
        commands = self._inbox.take(step) if self._world.is_main else []
        operations = Operation.LEAVE if self._wants_to_leave() else Operation.NONE
        for command in commands:
            operations |= Operation.of(command.kind)
        next_check = self._next_after(step) if self._world.is_main else 0
        self._sent = self._world.agree(int(operations), next_check), commands, missed

    def receive(self) -> Turn:
        """What all ranks agreed on at the end of this step."""
        if self._sent is None:
            return NOTHING
        agreement, commands, missed = self._sent
        self._sent = None
        operations, self._next_check = agreement.result()
        return Turn(Operation(operations), tuple(commands), tuple(missed))

    def wait(self, step: int) -> Turn:
        """One turn while paused: rank 0 waits up to a quarter of a second for a command, the others for rank 0."""
        if self._world.is_main and not self._wants_to_leave():
            self._inbox.wait(CHECK_SECONDS, step)
        self._next_check = step
        self.send(step)
        turn = self.receive()
        self._next_check = step + 1
        return turn

    def begin_anew(self, step: int) -> None:
        """The run was set back to `step`: the next step is one to check, on every rank."""
        self._next_check = step + 1
        self._last_check = (step + 1, time.monotonic())

    def _next_after(self, step: int) -> int:
        """The next step to check: after a quarter of a second, or earlier where a command waits for its step."""
        after_a_while = step + self._stride(step)
        wanted = self._inbox.next_step(step)
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
