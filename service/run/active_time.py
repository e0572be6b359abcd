"""Active time: the monotonic clock without the time in which this process was stopped (SIGSTOP, a frozen container).

    start(), measuring()        in a process that lasts; elsewhere, active time is the monotonic clock
    now()                       active time (s)
    stopped_seconds_since(t)    for how much of the time since the monotonic time t this process was stopped

Nothing tells a process that it was stopped. So a thread does nothing but look at the clock, and a gap between two looks
means that no thread of this process ran. Whoever asks looks too, so the first answer after a stop is right.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.background_thread import BackgroundThread, ErrorBoundary

LOOK_SECONDS = 0.25
STOPPED_SECONDS = 2.0
"""A longer gap between two looks means that this process was stopped; a busy machine delays a look by less."""
MAX_SPANS = 100

logger = logging.getLogger(__name__)


class Spans:
    """The last spans of time of a kind, on the monotonic clock (s)."""

    def __init__(self) -> None:
        self._spans: deque[tuple[float, float]] = deque(maxlen=MAX_SPANS)

    def add(self, start: float, end: float) -> None:
        """Add a span; it may overlap with others."""
        self._spans.append((start, end))

    def seconds_since(self, moment: float) -> float:
        """Return how much of the time since a moment lies in at least one span (s)."""
        seconds = 0.0
        for start, end in sorted(self._spans):
            begin = max(start, moment)
            seconds += max(0.0, end - begin)
            moment = max(moment, end)
        return seconds


class StopMeter:
    """Measures in which time this process was stopped; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans = Spans()
        self._total = 0.0
        self._looked_at: float | None = None

    def start(self, is_over: Callable[[], bool] = lambda: False) -> BackgroundThread:
        """Measure until the returned thread is closed, or `is_over()`."""
        thread = BackgroundThread(
            "active time",
            self.look,
            interval_seconds=LOOK_SECONDS,
            boundary=ErrorBoundary(logger, once=True),
            error_message="The clock of active time met an unexpected error; it goes on.",
            is_over=is_over,
            at_end=self._end,
        )
        self._looked_at = time.monotonic()
        thread.start()
        return thread

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Measure within the block."""
        thread = self.start()
        try:
            yield
        finally:
            thread.close()

    def look(self) -> None:
        """Look at the clock, and note a gap since the last look."""
        with self._lock:
            self._look()

    def _end(self) -> None:
        with self._lock:
            self._looked_at = None

    def _look(self) -> float:
        now = time.monotonic()
        if self._looked_at is not None:
            if now - self._looked_at > STOPPED_SECONDS:
                self._spans.add(self._looked_at, now)
                self._total += now - self._looked_at
            self._looked_at = now
        return now

    def now(self) -> float:
        """Return the active time (s)."""
        with self._lock:
            return self._look() - self._total

    def stopped_seconds(self) -> float:
        """Return for how long this process was stopped so far (s)."""
        with self._lock:
            self._look()
            return self._total

    def stopped_seconds_since(self, moment: float) -> float:
        """Return for how much of the time since a moment of the monotonic clock this process was stopped (s)."""
        with self._lock:
            self._look()
            return self._spans.seconds_since(moment)


_METER = StopMeter()
start = _METER.start
measuring = _METER.measuring
now = _METER.now
stopped_seconds = _METER.stopped_seconds
stopped_seconds_since = _METER.stopped_seconds_since
