"""The wish to leave: a signal sets a flag, the step boundary acts on it. A second signal ends the process at once.

A signal within a second of the first counts as the same: launchers and terminals often deliver one wish twice.
"""

import os
import signal
import time
from types import FrameType

from service.launcher.parent_death import end_with_parent

EXIT_CODE = 143
SAME_WISH_SECONDS = 1.0


def die_of_signals() -> None:
    """While there is nothing to save yet: any signal ends the process at once, also one that waits for others.

    SIGTERM comes when the launcher dies, too, so that no rank is ever orphaned.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_with_parent()


class ShutdownRequest:
    """Remembers that SIGTERM, SIGINT or SIGHUP came to this process."""

    def __init__(self) -> None:
        self.is_set = False
        self._first_at = 0.0

    def install(self) -> None:
        """Take over the signals: from now on there is something to save."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # Under nohup a hang-up stays ignored; an ignored SIGINT is only a shell's habit with background jobs.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.is_set and now - self._first_at > SAME_WISH_SECONDS:
            os._exit(EXIT_CODE)
        if not self.is_set:
            self.is_set, self._first_at = True, now
