"""Programs beside Leitstand that show a run's curves: what rank 0's recorder tells them. This one shows nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

from ddp.validation.result import Preview


class Tracker:
    """Every call is from the training thread and returns at once, but for `start` and `close`. Times are Unix seconds.

    `dropped` counts what it will never show.
    """

    dropped = 0

    def start(self, step: int) -> None:
        """The run begins, or goes on, at `step`."""

    def close(self) -> None:
        """The run is left: write what waits, and give up after a while."""

    def log_point(self, step: int, at: float, snapshot: Mapping[str, Any]) -> None:
        """The training's values at a step."""

    def validation(self, step: int, at: float, record: Mapping[str, Any], previews: Sequence[Preview]) -> None:
        """The values and pictures of a validation."""

    def resume_from(self, step: int) -> None:
        """The run was taken back to `step`: what was shown of later ones no longer belongs to it."""
