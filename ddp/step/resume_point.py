"""Where within a step and its boundary the state in memory stands, so that the next start can go on exactly there."""

from collections.abc import Mapping
from typing import Any


class ResumePoint:
    """What a state stands for that would be taken now. Each rank has its own; a step costs two assignments.

    A step's forward and backward passes change nothing that is saved, but buffers, which are put back. So from the end
    of one update to the beginning of the next, the state is that of the last finished step.
    """

    def __init__(self) -> None:
        self.is_whole = True
        """False while weights, moments and counters are of two different steps."""
        self.is_due = False
        """Whether actions of the boundary after this step (log point, validation, checkpoint) may not be done yet."""
        self.is_reviewed = False
        """Whether the block of steps before the next one has been reviewed."""

    def begin_change(self) -> None:
        """Note that the state is being changed: by an update, or by a rollback."""
        self.is_whole = False

    def end_step(self) -> None:
        """Note that a step is finished and counted."""
        self.is_whole, self.is_due, self.is_reviewed = True, True, False

    def end_rollback(self) -> None:
        """Note that the state is the one after another step, whose boundary is done."""
        self.is_whole, self.is_due, self.is_reviewed = True, False, False

    def state(self) -> dict[str, Any]:
        """Return plain values for a state that is left to the next start."""
        return {"is_due": self.is_due, "is_reviewed": self.is_reviewed}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the values of a state that a rank has left."""
        self.is_due, self.is_reviewed = state["is_due"], state["is_reviewed"]
