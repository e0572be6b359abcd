"""Several experiment trackers as one."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ddp.recording.trackers.base import Tracker
from ddp.validation.result import Preview


class CombinedTracker(Tracker):
    """Tracker that hands everything on to several others, in their order."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = tuple(trackers)

    @property
    def dropped(self) -> int:  # type: ignore[override]  # counted by each of them
        """Events that any of them dropped."""
        return sum(tracker.dropped for tracker in self._trackers)

    def start(self, step: int) -> None:
        """Start all of them at `step`."""
        for tracker in self._trackers:
            tracker.start(step)

    def close(self) -> None:
        """Close all of them at the same time, since each may take until its limit."""
        with ThreadPoolExecutor(max(1, len(self._trackers)), "tracker") as pool:
            list(pool.map(lambda tracker: tracker.close(), self._trackers))

    def log_point(self, step: int, at: float, snapshot: Mapping[str, Any]) -> None:
        """Hand on a log point."""
        for tracker in self._trackers:
            tracker.log_point(step, at, snapshot)

    def validation(self, step: int, at: float, record: Mapping[str, Any], previews: Sequence[Preview]) -> None:
        """Hand on a validation."""
        for tracker in self._trackers:
            tracker.validation(step, at, record, previews)

    def set_state(self, state: str) -> None:
        """Hand on the state of the run."""
        for tracker in self._trackers:
            tracker.set_state(state)

    def resume_from(self, step: int) -> None:
        """Hand on that the run goes on at `step`."""
        for tracker in self._trackers:
            tracker.resume_from(step)
