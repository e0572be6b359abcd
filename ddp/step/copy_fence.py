"""A fence between copies of the state, which other threads take, and the training thread, which changes it.

A checkpoint's copy of weights, moments and EMA weights begins at a step boundary. The next forward and backward passes
only read them, so the copy goes on meanwhile; the update waits until it has been taken:

    boundary: close ─┬─ training thread   forward, backward ── wait ── update
                     └─ copying thread    copy ───────────────┘
"""

from typing import Protocol


class CopyInProgress(Protocol):
    """A copy of the state that another thread takes."""

    def wait_until_taken(self) -> None:
        """Wait until its sources may be changed, also if it has failed. Raises nothing."""


class CopyFence:
    """Keeps the saved tensors as they are while copies are being taken. Used by the training thread only.

    Whoever changes weights, moments or EMA weights in place calls `wait` first.
    """

    def __init__(self) -> None:
        self._copies: list[CopyInProgress] = []

    @property
    def is_closed(self) -> bool:
        """Whether a copy may still be in progress."""
        return bool(self._copies)

    def close_for(self, copy: CopyInProgress) -> None:
        """Keep the tensors as they are until this copy has been taken, too."""
        self._copies.append(copy)

    def wait(self) -> None:
        """Wait for all copies; afterwards the tensors may be changed."""
        copies, self._copies = self._copies, []
        for copy in copies:
            copy.wait_until_taken()
