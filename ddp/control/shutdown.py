"""Shutdown by signal: a signal sets a flag, and the step boundary acts on it.

Only a repeated SIGINT ends the process at once. A rank that waits for data never comes to that boundary, nor to the
collective in which it would miss another rank; once its watchdog knows that one is gone, the wait is given up.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ddp.distributed.peer_loss import PeerLossError
from service.launcher.parent_death import end_with_launcher
from service.launcher.termination import TERMINATION, RepeatedInterrupt, terminate_on_announcements

EXIT_CODE = 143
FORCED_EXIT_CODE = 130
"""Exit code after a repeated SIGINT: nothing was saved."""


def exit_on_signals() -> None:
    """Make any signal end the process immediately, even while it waits for other ranks: there is nothing to save yet.

    The process also receives SIGTERM when the launcher dies, and ends if it has died already, so that no rank is
    orphaned.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    terminate_on_announcements()
    end_with_launcher(os.environ)


class ShutdownRequest:
    """Flag that this process received a signal that asks it to save and leave."""

    def __init__(self) -> None:
        self.is_set = False
        self._interrupt = RepeatedInterrupt()
        self._is_waiting = False
        self._loss: str | None = None

    def install(self) -> None:
        """Install the signal handlers: from now on there is something to save."""
        for number in TERMINATION:
            # Under nohup SIGHUP stays ignored; an ignored SIGINT is only the shell's default for background jobs.
            if number in {signal.SIGTERM, signal.SIGINT} or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Let `give_up` end the block, which runs on the main thread and changes nothing that is saved.

        Raises `PeerLossError`.
        """
        self._is_waiting = True
        try:
            yield
        finally:
            self._is_waiting = False

    def give_up(self, reason: str) -> None:
        """Raise `PeerLossError` with `reason` where the main thread is `waiting`. Called from another thread."""
        self._loss = reason
        main = threading.main_thread().ident
        if main is not None and signal.getsignal(signal.SIGTERM) == self._on_signal:
            signal.pthread_kill(main, signal.SIGTERM)  # a call of the system that waits is interrupted by it

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.is_set = True
        if self._interrupt.is_repeated_by(number):
            os._exit(FORCED_EXIT_CODE)
        if self._is_waiting and self._loss is not None:
            raise PeerLossError(self._loss)
