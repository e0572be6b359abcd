"""The age of a run's heartbeat, judged by seeing it change.

Heartbeats are times of the trainer's clock. The reader's clock may differ from it, and either may jump; so only the
first look compares the two. Afterwards the age is the reader's active time since the heartbeat was seen to change: a
reader that was stopped, perhaps together with the trainer, has not seen whether the trainer was silent meanwhile.

A heartbeat that is much later than the time that has passed since the last one shows that the trainer's clock was set
forward, or that its machine slept: what happened before is not as long ago as that clock says.
"""

import threading
import time
from collections import deque

from service.run import active_time

MAX_KEPT_BEATS = 64
"""Heartbeats of one run that are kept, so that a row which was read a minute ago is not taken for a new heartbeat."""
MIN_JUMP_SECONDS = 30.0
"""Smaller jumps of a clock cannot be told from looks that came late; no rule is as exact."""
MAX_JUMPS = 20


class _Beats:
    """The last heartbeats of one run, and the jumps of its trainer's clock."""

    def __init__(self) -> None:
        self._beat_at: dict[float, float] = {}  # heartbeat (Unix seconds): active time of the beat; newest last
        self._looked_at = 0.0
        self._last_look: tuple[float, float] | None = None  # the newest heartbeat, and the monotonic time of that look
        self._jumps: deque[tuple[float, float]] = deque(maxlen=MAX_JUMPS)  # a time that was skipped, and the length

    def on_present_clock(self, moment: float) -> float:
        """Return what the clock would have shown at an earlier moment, if it had been then as it is now."""
        return moment + sum(seconds for skipped, seconds in self._jumps if moment <= skipped)

    def look(self, heartbeat_at: float, now: float) -> float:
        """Look at a heartbeat at the active time `now`; return the active time of that beat."""
        newest = next(reversed(self._beat_at), None)
        if heartbeat_at not in self._beat_at:
            age_seconds = time.time() - heartbeat_at  # as far as the clocks agree
            if newest is not None:  # then it came after the last look
                age_seconds = min(max(0.0, age_seconds), now - self._looked_at)
            self._beat_at[heartbeat_at] = now - age_seconds
            self._note_jump(heartbeat_at)
            newest = heartbeat_at
        if heartbeat_at == newest:
            self._looked_at = now
            self._last_look = heartbeat_at, time.monotonic()
        while len(self._beat_at) > MAX_KEPT_BEATS:
            del self._beat_at[next(iter(self._beat_at))]
        return self._beat_at[heartbeat_at]

    def _note_jump(self, heartbeat_at: float) -> None:
        """Note a jump forward between the newest heartbeat and this one."""
        if self._last_look is None:
            return
        last, looked_at = self._last_look
        seconds = heartbeat_at - last - (time.monotonic() - looked_at)
        if seconds > MIN_JUMP_SECONDS:
            self._jumps.append((heartbeat_at - seconds / 2, seconds))


class HeartbeatObserver:
    """The heartbeats of all runs that one process looks at; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._beats: dict[str, _Beats] = {}

    def now(self, run_id: str, heartbeat_at: float) -> float:
        """Look at a run's heartbeat; return the present time on the trainer's clock (Unix seconds).

        Its distance from `heartbeat_at` is the heartbeat's age.
        """
        with self._lock:
            now = active_time.now()
            return heartbeat_at + now - self._beats.setdefault(run_id, _Beats()).look(heartbeat_at, now)

    def on_present_clock(self, run_id: str, moment: float) -> float:
        """Return what the trainer's clock would have shown at an earlier moment, if it had been then as it is now.

        Unix seconds; only jumps that were seen here count, and only those forward.
        """
        with self._lock:
            beats = self._beats.get(run_id)
            return moment if beats is None else beats.on_present_clock(moment)
