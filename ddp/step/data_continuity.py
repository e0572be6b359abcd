"""Notices at a resume or rollback that the data are others than those of the saved state.

Epochs then go on counting, from the beginning of the new training set on, and the best quality begins anew, because
scores of different images cannot be compared. The same on every rank, because all see the same data.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from ddp.adaptive.controller import Controller
from ddp.step.progress import Progress
from ddp.workload import DataIdentity

logger = logging.getLogger(__name__)


class DataContinuity:
    """Saves which data a run was trained on, and compares them when the state is restored.

    Must be restored after the progress and the controller, which it corrects.
    """

    def __init__(self, data: DataIdentity, progress: Progress, controller: Controller) -> None:
        self._data = data
        self._progress = progress
        self._controller = controller
        self._changes: dict[str, dict[str, Any]] = {}

    def state(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return asdict(self._data)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Compare the data of a saved state with those of this start; `state` is empty in earlier versions."""
        self._changes = {}
        if not state:
            return
        saved = DataIdentity(**state)
        if saved.training != self._data.training:
            self._progress.begin_training_set(saved.sample_count)
            self._controller.plateau.forget_loss()
            self._note("training", saved.training, self._data.training, saved.sample_count, self._data.sample_count)
        if saved.validation != self._data.validation:
            self._progress.forget_best()
            self._controller.plateau.forget_quality()
            self._note("validation", saved.validation, self._data.validation, saved.image_count, self._data.image_count)

    def _note(self, what: str, before: str, now: str, count_before: int, count_now: int) -> None:
        self._changes[what] = {
            "before": before, "now": now, "count_before": count_before, "count_now": count_now,
        }  # fmt: skip

    def report(self, event: Callable[[str, Mapping[str, Any]], None], *, is_main: bool = True) -> None:
        """Log the differences that the last `restore` has found, and pass them to the event log; only on rank 0."""
        if not is_main:
            return
        if "training" in self._changes:
            logger.warning(
                "The training set is another than before (%d samples, now %d): epoch %d begins with it.",
                *self._counts("training"), self._progress.epochs_before + 1,
            )  # fmt: skip
        if "validation" in self._changes:
            logger.warning(
                "The validation set is another than before (%d images, now %d): the best quality begins anew.",
                *self._counts("validation"),
            )
        if self._changes:
            event("data changed", self._changes)

    def _counts(self, what: str) -> tuple[int, int]:
        return self._changes[what]["count_before"], self._changes[what]["count_now"]
