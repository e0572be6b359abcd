"""Rank 0's queue of commands that wait for a step boundary."""

import threading
from collections import deque
from itertools import takewhile

from service.commands import Command, CommandBits, Kind

_CONTRADICTS = {Kind.PAUSE: CommandBits.RESUME, Kind.RESUME: CommandBits.PAUSE}


class CommandQueue:
    """Thread-safe queue of commands: rank 0's recorder thread adds them, its training thread takes them.

    A command with `apply_at_step` waits for the end of exactly that step, the others for the next boundary.
    """

    def __init__(self) -> None:
        self._waiting: deque[Command] = deque()
        self._arrived = threading.Condition()

    def put(self, command: Command) -> None:
        """Add a command that is running."""
        with self._arrived:
            self._waiting.append(command)
            self._arrived.notify()

    def take(self, step: int) -> list[Command]:
        """Take the commands to execute at the end of `step`: in order, up to the first that contradicts an earlier one.

        A rollback is taken first and alone: other commands of this step wait until the run reaches it again.
        """
        taken: list[Command] = []
        operations = CommandBits.NONE
        with self._arrived:
            due = [command for command in self._waiting if (command.apply_at_step or step) == step]
            for command in _first_rollback(due) or due:
                if _must_wait(operations, command.kind):
                    break
                self._waiting.remove(command)
                taken.append(command)
                operations |= CommandBits.of(command.kind)
        return taken

    def take_missed(self, step: int) -> list[Command]:
        """Take the commands whose `apply_at_step` has passed before they could be executed."""
        with self._arrived:
            missed = [command for command in self._waiting if (command.apply_at_step or step) < step]
            for command in missed:
                self._waiting.remove(command)
        return missed

    def next_step(self, step: int) -> int | None:
        """Return the earliest step after `step` that a command waits for, or None."""
        with self._arrived:
            wanted = [command.apply_at_step for command in self._waiting if (command.apply_at_step or 0) > step]
        return min((at for at in wanted if at is not None), default=None)

    def take_all(self) -> list[Command]:
        """Take all remaining commands, at the end of the run."""
        with self._arrived:
            taken = list(self._waiting)
            self._waiting.clear()
        return taken

    def wait(self, seconds: float, step: int) -> None:
        """Wait until the boundary after `step` can execute a command, or until `seconds` have passed."""
        with self._arrived:
            self._arrived.wait_for(
                lambda: any((command.apply_at_step or step) <= step for command in self._waiting), timeout=seconds
            )


def _first_rollback(due: list[Command]) -> list[Command]:
    """Return the first rollback as a list; empty if there is none, or if a stop comes before it."""
    before_stop = takewhile(lambda command: command.kind is not Kind.STOP, due)
    return [command for command in before_stop if command.kind is Kind.ROLLBACK][:1]


def _must_wait(operations: CommandBits, kind: Kind) -> bool:
    return CommandBits.STOP in operations or bool(operations & _CONTRADICTS.get(kind, CommandBits.NONE))
