"""Interface for experiment trackers, called by rank 0's recorder; the base class does nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

from ddp.validation.result import Preview


class Tracker:
    """Experiment tracker that does nothing. Times are Unix seconds.

    The training thread calls all methods; all but `start` and `close` do not block. `dropped` counts dropped events.
    """

    dropped = 0

    def start(self, step: int) -> None:
        """Start tracking a run that starts or continues at `step`."""

    def close(self) -> None:
        """Write everything queued, within a time limit, and stop tracking."""

    def log_point(self, step: int, at: float, snapshot: Mapping[str, Any]) -> None:
        """Track the training values of a log point."""

    def validation(self, step: int, at: float, record: Mapping[str, Any], previews: Sequence[Preview]) -> None:
        """Track the values and images of a validation."""

    def set_state(self, state: str) -> None:
        """Note the state of the run; the last one before `close` is how the run ended, if it has."""

    def resume_from(self, step: int) -> None:
        """Discard everything of steps after `step`, to which the run was rolled back."""
