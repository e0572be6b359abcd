"""Rank 0's queue of commands that wait for a step boundary."""

import threading
from collections import deque
from itertools import takewhile

from service.commands import Command, CommandBits, Kind

_CONTRADICTS = {Kind.PAUSE: CommandBits.RESUME, Kind.RESUME: CommandBits.PAUSE}


class CommandQueue:
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
        operations = CommandBits.NONE
        with self._arrived:
            due = [command for command in self._waiting if (command.apply_at_step or step) == step]
            for command in _rollback_alone(due) or due:
                if _ends_turn(operations, command.kind):
                    break
                self._waiting.remove(command)
                taken.append(command)
                operations |= CommandBits.of(command.kind)
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


def _ends_turn(operations: CommandBits, kind: Kind) -> bool:
    return CommandBits.STOP in operations or bool(operations & _CONTRADICTS.get(kind, CommandBits.NONE))
