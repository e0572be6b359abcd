"""A thread that does the same small work again and again beside the main work, and what such threads have in common.

An unexpected error ends neither the thread nor the process: it is logged, and the next turn comes. A trouble that lasts
is reported when it begins and when it is over, not at every turn. What is still to be done at the end gets a last
chance, and then the thread ends.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FOREVER = float("inf")


class ErrorBoundary:
    """Logs unexpected errors with their traceback and lets the caller go on."""

    def __init__(self, logger: logging.Logger, *, once: bool = False) -> None:
        """With `once` an error is logged only if none of its type was logged with the same message before."""
        self._logger = logger
        self._once = once
        self._logged: set[tuple[str, type[Exception]]] = set()

    @contextmanager
    def guard(self, message: str, *details: object) -> Iterator[None]:
        """Log an error raised within the block under `message % details`, and swallow it."""
        try:
            yield
        except Exception as error:  # the one place where background work meets what nobody expected
            kind = (message % details, type(error))
            if not self._once or kind not in self._logged:
                self._logger.exception(message, *details)
            self._logged.add(kind)


class LastingTrouble:
    """A trouble that may last over many turns; tells its beginning and its end from what lies between."""

    def __init__(self) -> None:
        self.is_on = False

    def begin(self) -> bool:
        """Note that the trouble is there; returns whether it was not there before."""
        was_on, self.is_on = self.is_on, True
        return not was_on

    def end(self) -> bool:
        """Note that the trouble is not there; returns whether it was there before."""
        was_on, self.is_on = self.is_on, False
        return was_on


class BackgroundThread:
    """A named daemon thread that calls `turn` every `interval_seconds`, until it is closed.

    Public methods may be called from any thread.
    """

    def __init__(
        self,
        name: str,
        turn: Callable[[], object],
        *,
        boundary: ErrorBoundary,
        error_message: str,
        interval_seconds: float = FOREVER,
        tick_seconds: float = FOREVER,
        begins_at_once: bool = False,
        is_over: Callable[[], bool] = lambda: False,
        at_end: Callable[[], object] = lambda: None,
    ) -> None:
        """`error_message` is logged with what `turn` or `at_end` raises.

        Without an interval a turn comes only after `wake`. With `begins_at_once` the first turn comes before the first
        wait. `is_over` is asked every `tick_seconds` of a wait and after it: once it is true the thread ends as if it
        were closed. `at_end` is called on the thread as its last act.
        """
        self._turn = turn
        self._boundary = boundary
        self._error_message = error_message
        self._interval_seconds = interval_seconds
        self._tick_seconds = tick_seconds
        self._begins_at_once = begins_at_once
        self._is_over = is_over
        self._at_end = at_end
        self._awake = threading.Event()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def is_closing(self) -> bool:
        """Whether `close` was called: no turn is to come, and `at_end` may be at work."""
        return self._is_closing

    def is_alive(self) -> bool:
        """Return whether the thread was started and has not ended."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin; to be called once."""
        self._thread.start()

    def wake(self) -> None:
        """Let the next turn come now, or right after the present one."""
        self._awake.set()

    def close(self, timeout_seconds: float | None = None) -> None:
        """End the thread after the present turn and `at_end`; waits for that, at most `timeout_seconds`."""
        self._is_closing = True
        self._awake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_seconds)

    def _run(self) -> None:
        if self._begins_at_once and not self._ends():
            self._guarded(self._turn)
        while self._wait():
            self._guarded(self._turn)
        self._guarded(self._at_end)

    def _guarded(self, act: Callable[[], object]) -> None:
        with self._boundary.guard(self._error_message):
            act()

    def _wait(self) -> bool:
        """Wait for the next turn; returns whether there is one."""
        due_at = time.monotonic() + self._interval_seconds
        while (left := due_at - time.monotonic()) > 0:
            seconds = min(left, self._tick_seconds)
            is_woken = self._awake.wait(None if seconds == FOREVER else seconds)
            if self._ends():
                return False
            if is_woken:
                self._awake.clear()
                break
        return True

    def _ends(self) -> bool:
        return self._is_closing or self._is_over()


def use_last_chance(
    attempt: Callable[[], object], *, is_wanted: Callable[[], bool], seconds: float, pause_seconds: float
) -> None:
    """Call `attempt` while it is wanted, `pause_seconds` apart; gives up after `seconds`."""
    deadline = time.monotonic() + seconds
    while is_wanted() and time.monotonic() < deadline:
        attempt()
        if is_wanted():
            time.sleep(pause_seconds)
