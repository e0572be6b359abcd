"""Shutdown by signal: a signal sets a flag, and the step boundary acts on it. A second signal ends the process.

A signal within a second of the first is ignored, since launchers and terminals often deliver one request twice.
"""

import os
import signal
import time
from types import FrameType

from service.launcher.parent_death import end_with_parent

EXIT_CODE = 143
DEBOUNCE_SECONDS = 1.0


def exit_on_signals() -> None:
    """Make any signal end the process immediately, even while it waits for other ranks: there is nothing to save yet.

    The process also receives SIGTERM when the launcher dies, so that no rank is orphaned.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_with_parent()


class ShutdownRequest:
    """Flag that SIGTERM, SIGINT or SIGHUP was received by this process."""

    def __init__(self) -> None:
        self.is_set = False
        self._first_at = 0.0

    def install(self) -> None:
        """Install the signal handlers: from now on there is something to save."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # Under nohup SIGHUP stays ignored; an ignored SIGINT is only the shell's default for background jobs.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.is_set and now - self._first_at > DEBOUNCE_SECONDS:
            os._exit(EXIT_CODE)
        if not self.is_set:
            self.is_set, self._first_at = True, now
