"""Queues signals for an event loop: the handler only stores them, the loop handles them when its sleep ends.

For the main thread only, because the interpreter delivers signals there. The earlier handlers are restored at the end.
"""

import os
import select
import signal
from collections import deque
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from service.launcher.termination import ANNOUNCEMENTS, TERMINATION

TERMINAL = (signal.SIGTSTP, signal.SIGCONT)


class SignalQueue:
    """Queue of received signals, which also end the loop's sleep; SIGCHLD only ends the sleep.

    SIGUSR1, SIGUSR2, SIGXCPU and SIGQUIT are queued as SIGTERM.
    """

    def __init__(self) -> None:
        self._received: deque[signal.Signals] = deque()
        self._earlier_handlers: dict[signal.Signals, Callable[[int, FrameType | None], Any] | int | None] = {}
        self._wake_read, self._wake_write = -1, -1
        self._earlier_wakeup_fd = -1

    def __enter__(self) -> Self:
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._earlier_wakeup_fd = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in (*TERMINATION, *TERMINAL, signal.SIGCHLD):
            # An ignored signal (SIGHUP under nohup) stays ignored. An ignored SIGINT does not: shells ignore it for
            # processes that a script starts with `&`, but there it is only sent on purpose.
            if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
                self._earlier_handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._earlier_handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._earlier_wakeup_fd)
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self._received.append(signal.SIGTERM if number in ANNOUNCEMENTS else signal.Signals(number))

    def sleep(self, seconds: float, descriptor: int | None = None) -> bool:
        """Sleep until a signal arrives, `descriptor` is readable, or `seconds` are over; returns True if readable."""
        watched = [self._wake_read] if descriptor is None else [self._wake_read, descriptor]
        readable, _, _ = select.select(watched, [], [], seconds)
        if self._wake_read in readable:
            os.read(self._wake_read, 4096)
        return descriptor in readable

    def drain(self) -> list[signal.Signals]:
        """Return the signals received since the last call, in order, and remove them."""
        received = []
        while self._received:
            received.append(self._received.popleft())
        return received
