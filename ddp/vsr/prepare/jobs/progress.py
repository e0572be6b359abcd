"""What a person sees of a long phase: how much of it is done, how fast, and how long it will take."""

import time
from collections.abc import Callable

Show = Callable[[str], object]

INTERVAL_SECONDS = 10.0
"""Between two lines in a log."""
LIVE_SECONDS = 0.5
"""Between two texts of the line that a terminal shows and replaces."""


class ProgressMeter:
    """Shows phases one after the other: on a terminal as a line that changes, else as a line now and then."""

    def __init__(self, show: Show, live: Show | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """`live` replaces its last text; without it, `show` gets a line each INTERVAL_SECONDS."""
        self._show = live or show
        self._interval = LIVE_SECONDS if live else INTERVAL_SECONDS
        self._clock = clock
        self.begin("", 0, "")

    def begin(self, what: str, total: float, unit: str, done: float = 0) -> None:
        """Begin a phase of `total` units, of which `done` were done before."""
        self._what, self._total, self._unit = what, total, unit
        self._begun_with = self._done = done
        self._began_at = self._shown_at = self._clock()

    def update(self, done: float) -> None:
        """Note how much of the phase is done, that before it included."""
        self._done = done
        now = self._clock()
        if now >= self._shown_at + self._interval and self._begun_with < done < self._total:
            self._shown_at = now
            rate = (done - self._begun_with) / (now - self._began_at)
            left = duration_text((self._total - done) / rate)
            share = f"{done / self._total:.0%}"
            self._show(f"{self._what}: {done:,.0f} of {self._total:,.0f} {self._unit} ({share}), {left} left")


def duration_text(seconds: float) -> str:
    """Return a duration as `H:MM:SS`."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
