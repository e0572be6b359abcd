"""Weights & Biases: an offline directory, written by its own library, which `wandb sync` uploads later."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from service.run.records.trackers.tracked_run import TrackedPoint, TrackedRun, library


class WandbTracker:
    """`Tracker` of Weights & Biases below the folder `where`; nothing is sent to any server."""

    def __init__(self, where: str | None, experiment: str) -> None:
        """Use the library; raises `UserError` if it is not installed."""
        self._wandb = library("wandb", "Weights & Biases", "wandb")
        self._where = where
        self._project = experiment
        self._run: Any = None

    def begin(self, run: TrackedRun) -> int:
        """Begin an offline run of its own, since offline directories cannot be continued."""
        if self._where is not None:
            Path(self._where).mkdir(parents=True, exist_ok=True)
        facts = {f"leitstand_{key}": text for key, text in run.facts.items()}
        rollbacks = [f"rollback: {text}" for text in run.rollbacks]
        name = run.name if run.from_step is None else run.start_name
        self._run = self._wandb.init(
            mode="offline", dir=self._where, project=self._project, name=name, id=_id(run), group=run.run_id,
            notes="\n".join(filter(None, [run.note, *rollbacks])) or None, config={**run.settings, **facts},
            settings=self._wandb.Settings(silent=True, x_disable_stats=True, x_disable_meta=True, console="off"),
        )  # fmt: skip
        return -1

    def add(self, points: Sequence[TrackedPoint]) -> None:
        """Log numbers at their steps."""
        for point in points:
            self._run.log(point.timed_scalars, step=point.step)

    def end(self, state: str) -> str:
        """Finish the directory."""
        folder = Path(self._run.dir).parent
        self._run.finish(exit_code=1 if state == "failed" else 0)
        return f"{folder}; `wandb sync {folder}` uploads it"


def _id(run: TrackedRun) -> str:
    """Return an id that W&B allows; of each branch one, so that a rollback does not mix two.

    A training's starts have one each: they cannot be one, and may have the same steps.
    """
    name = f"{run.run_id}-{run.branch}" if run.branch else run.run_id
    start = "" if run.from_step is None else f"-{run.from_step}-{int(time.time())}"
    return "".join(char if char.isascii() and (char.isalnum() or char in "-_") else "_" for char in f"{name}{start}")
