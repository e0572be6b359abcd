"""What a person sees of the work: how far it is, how fast, and how long it will take."""

import time
from collections.abc import Callable

from ddp.vsr.prepare.jobs.progress import duration_text

Show = Callable[[str], None]
INTERVAL_SECONDS = 10.0


class Progress:
    """Shows a line now and then: at most one each INTERVAL_SECONDS."""

    def __init__(self, total: int, done: int, show: Show, clock: Callable[[], float] = time.monotonic) -> None:
        """`done` frames of `total` were made before."""
        self._total = total
        self._begun_with = self._done = done
        self._show = show
        self._clock = clock
        self._began_at = self._shown_at = clock()

    def step(self) -> None:
        """Note one more frame."""
        self._done += 1
        now = self._clock()
        if now >= self._shown_at + INTERVAL_SECONDS and self._done < self._total:
            self._shown_at = now
            rate = (self._done - self._begun_with) / (now - self._began_at)
            left = duration_text((self._total - self._done) / rate)
            self._show(f"{self._done} of {self._total} frames, {rate:.2g} a second, {left} left")
