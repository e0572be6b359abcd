"""Signals as events for a loop: the handler only notes them, the loop that sleeps here acts on them.

Main thread only, because the interpreter delivers signals there. The earlier handlers are put back at the end.
"""

import os
import select
import signal
from collections import deque
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

LEAVE = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TERMINAL = (signal.SIGTSTP, signal.SIGCONT)


class SignalQueue:
    """Collects signals and wakes the loop up for them; SIGCHLD only wakes it."""

    def __init__(self) -> None:
        self._arrived: deque[signal.Signals] = deque()
        self._earlier: dict[signal.Signals, Callable[[int, FrameType | None], Any] | int | None] = {}
        self._wake_read, self._wake_write = -1, -1
        self._earlier_wake = -1

    def __enter__(self) -> Self:
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._earlier_wake = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in (*LEAVE, *TERMINAL, signal.SIGCHLD):
            # SIGHUP under nohup stays ignored. SIGINT does not: shells ignore it for what a script starts with `&`,
            # but nobody sends it there by accident.
            if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
                self._earlier[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._earlier_wake)
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self._arrived.append(signal.Signals(number))

    def sleep(self, seconds: float, descriptor: int | None = None) -> bool:
        """Sleep until a signal comes, `descriptor` is readable, or the time is over; True when it is readable."""
        watched = [self._wake_read] if descriptor is None else [self._wake_read, descriptor]
        readable, _, _ = select.select(watched, [], [], seconds)
        if self._wake_read in readable:
            os.read(self._wake_read, 4096)
        return descriptor in readable

    def take(self) -> list[signal.Signals]:
        """The signals that came since the last call, in order."""
        arrived = []
        while self._arrived:
            arrived.append(self._arrived.popleft())
        return arrived
