"""Which signals ask a process to end in order, the same for launchers and ranks.

Schedulers announce the end of a job by SIGUSR1 or SIGUSR2, as their users choose, or by SIGXCPU, which the kernel also
sends where a limit of processor time is near; container runtimes can be told to stop by SIGQUIT, and Ctrl-\\ sends it.
All count as SIGTERM. They also send SIGTERM two or three times, so only a repeated SIGINT, a person's Ctrl-C, asks to
end at once.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

ANNOUNCEMENTS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU, signal.SIGQUIT)
TERMINATION = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, *ANNOUNCEMENTS)
DUPLICATE_SECONDS = 1.0
"""Two SIGINT within this time are one request, which terminals and launchers often deliver twice."""

SIGTERM_EXIT_CODE = 128 + signal.SIGTERM

KILLED = 128 + signal.SIGKILL
"""Exit code of a launcher whose ranks were killed before they had saved."""


def terminate_on_announcements() -> None:
    """Let the announcements have the effect of SIGTERM in this process, unless they are ignored.

    Those that were held back for it take effect now.
    """
    for number in ANNOUNCEMENTS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _terminate_self)
    release_announcements()


@contextmanager
def announcements_held_back(*, interrupts_too: bool = False) -> Iterator[None]:
    """Let announcements, and with `interrupts_too` Ctrl-C, wait during the block.

    A program that replaces this one there gets them when it releases them; before it handles them, announcements would
    kill it, and Ctrl-C would end its imports, which take seconds, with a traceback.
    """
    numbers = (*ANNOUNCEMENTS, signal.SIGINT) if interrupts_too else ANNOUNCEMENTS
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        release_announcements()


def release_announcements() -> None:
    """Let those that waited take effect, and Ctrl-C."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (*ANNOUNCEMENTS, signal.SIGINT))


@contextmanager
def exiting_on_termination() -> Iterator[None]:
    """Turn a first SIGTERM, or announcement of one, into an exit that cleans up, with exit code 143; ignore others."""
    numbers = (signal.SIGTERM, *ANNOUNCEMENTS)

    def exit_on_signal(*_: object) -> NoReturn:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        sys.exit(SIGTERM_EXIT_CODE)

    previous = {number: signal.signal(number, exit_on_signal) for number in numbers}
    try:
        release_announcements()
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def how_it_ended(code: int) -> str:
    """Return how a process ended, for a sentence; `code` is negative if a signal ended it."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal
        return f"was ended by signal {-code}"


def _terminate_self(_number: int, _frame: FrameType | None) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


class RepeatedInterrupt:
    """Recognizes a SIGINT that repeats an earlier one."""

    def __init__(self) -> None:
        self._first_at: float | None = None

    def is_repeated_by(self, number: int) -> bool:
        """Return True if `number` is a SIGINT and the first one came more than DUPLICATE_SECONDS ago."""
        if number != signal.SIGINT:
            return False
        now = time.monotonic()
        if self._first_at is None:
            self._first_at = now
        return now - self._first_at > DUPLICATE_SECONDS
