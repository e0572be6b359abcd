"""A background thread that repeats a short task, and helpers for such threads.

An unexpected error ends neither the thread nor the process: it is logged, and the task runs again later. An ongoing
problem is reported when it starts and when it ends, not at every run of the task. Work that is pending at the end is
retried for a limited time before the thread ends.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FOREVER = float("inf")


class ErrorBoundary:
    """Logs unexpected errors with their traceback, so that the caller continues."""

    def __init__(self, logger: logging.Logger, *, once: bool = False) -> None:
        """Use this logger; with `once`, an error is logged only once for each message and type of error."""
        self._logger = logger
        self._once = once
        self._logged: set[tuple[str, type[Exception]]] = set()

    @contextmanager
    def guard(self, message: str, *details: object) -> Iterator[None]:
        """Log an error that the block raises with the message `message % details`, and suppress it."""
        try:
            yield
        except Exception as error:  # intended for all errors, because it is the last handler of background work
            kind = (message % details, type(error))
            if not self._once or kind not in self._logged:
                self._logger.exception(message, *details)
            self._logged.add(kind)


class OngoingProblem:
    """State of a problem that may persist over many attempts; detects its start and its end."""

    def __init__(self) -> None:
        self.is_active = False

    def begin(self) -> bool:
        """Record that the problem exists; returns True if it did not exist before."""
        was_active, self.is_active = self.is_active, True
        return not was_active

    def end(self) -> bool:
        """Record that the problem does not exist; returns True if it existed before."""
        was_active, self.is_active = self.is_active, False
        return was_active


class BackgroundThread:
    """A named daemon thread that calls `task` every `interval_seconds` until it is closed.

    Public methods may be called from any thread.
    """

    def __init__(
        self,
        name: str,
        task: Callable[[], object],
        *,
        boundary: ErrorBoundary,
        error_message: str,
        interval_seconds: float = FOREVER,
        tick_seconds: float = FOREVER,
        runs_immediately: bool = False,
        is_over: Callable[[], bool] = lambda: False,
        at_end: Callable[[], object] = lambda: None,
    ) -> None:
        """Prepare the thread; `error_message` is logged with errors that `task` or `at_end` raises.

        Without an interval, the task runs only after `wake`. With `runs_immediately`, it runs before the first wait.
        `is_over` is called before an immediate run, every `tick_seconds` during a wait and after it: once it returns
        True, the thread ends as if it were closed, and `is_over` is not called again. `at_end` is called on the thread
        before it ends.
        """
        self._task = task
        self._boundary = boundary
        self._error_message = error_message
        self._interval_seconds = interval_seconds
        self._tick_seconds = tick_seconds
        self._runs_immediately = runs_immediately
        self._is_over = is_over
        self._at_end = at_end
        self._awake = threading.Event()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def is_closing(self) -> bool:
        """True once `close` was called: the task will not run again, but `at_end` may be running."""
        return self._is_closing

    def start(self) -> None:
        """Start the thread; must be called only once."""
        self._thread.start()

    def wake(self) -> None:
        """Run the task now, or again right after the present run."""
        self._awake.set()

    def close(self, timeout_seconds: float | None = None) -> None:
        """End the thread after the present run of the task and `at_end`; waits for that, at most `timeout_seconds`."""
        self._is_closing = True
        self._awake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_seconds)

    def _run(self) -> None:
        if self._begin():
            while self._wait():
                self._call_guarded(self._task)
        self._call_guarded(self._at_end)

    def _begin(self) -> bool:
        """Run the task if it runs immediately; returns False if the thread must end instead.

        `is_over` is not asked again after it was true: its owner may have started another thread since.
        """
        if not self._runs_immediately:
            return True
        if self._must_end():
            return False
        self._call_guarded(self._task)
        return True

    def _call_guarded(self, function: Callable[[], object]) -> None:
        with self._boundary.guard(self._error_message):
            function()

    def _wait(self) -> bool:
        """Wait until the task is due; returns False if the thread must end instead."""
        due_at = time.monotonic() + self._interval_seconds
        while (remaining := due_at - time.monotonic()) > 0:
            seconds = min(remaining, self._tick_seconds)
            is_woken = self._awake.wait(None if seconds == FOREVER else seconds)
            if self._must_end():
                return False
            if is_woken:
                self._awake.clear()
                break
        return True

    def _must_end(self) -> bool:
        return self._is_closing or self._is_over()


def retry_while(
    attempt: Callable[[], object], *, is_wanted: Callable[[], bool], seconds: float, pause_seconds: float
) -> None:
    """Call `attempt` every `pause_seconds` while `is_wanted` returns True, for at most `seconds`."""
    deadline = time.monotonic() + seconds
    while is_wanted() and time.monotonic() < deadline:
        attempt()
        if is_wanted():
            time.sleep(pause_seconds)
