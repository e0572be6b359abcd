"""Weights & Biases: an offline directory, written by its own library, which `wandb sync` uploads later."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from service.cli.stats.exchange.pushed import PushedPoint, PushedRun, library

TIME = "leitstand/unix_seconds"
"""When a record was made: W&B itself knows only when it was pushed."""


class WandbTracker:
    """`Tracker` of Weights & Biases below the folder `where`; nothing is sent to any server."""

    def __init__(self, where: str | None, experiment: str) -> None:
        """Use the library; raises `UserError` if it is not installed."""
        self._wandb = library("wandb", "Weights & Biases", "wandb")
        self._where = where
        self._project = experiment
        self._run: Any = None

    def begin(self, run: PushedRun) -> int:
        """Begin an offline run; it is always the whole run, since offline directories cannot be continued."""
        if self._where is not None:
            Path(self._where).mkdir(parents=True, exist_ok=True)
        facts = {f"leitstand_{key}": text for key, text in run.facts.items()}
        rollbacks = [f"rollback: {text}" for text in run.rollbacks]
        self._run = self._wandb.init(
            mode="offline", dir=self._where, project=self._project, name=run.name, id=_id(run), group=run.run_id,
            notes="\n".join(filter(None, [run.note, *rollbacks])) or None, config={**run.settings, **facts},
            settings=self._wandb.Settings(silent=True, x_disable_stats=True, x_disable_meta=True, console="off"),
        )  # fmt: skip
        return -1

    def add(self, points: Sequence[PushedPoint]) -> None:
        """Log the numbers of records at their steps."""
        for point in points:
            at = {} if point.at is None else {TIME: point.at}
            self._run.log({**point.scalars, **at}, step=point.step)

    def end(self) -> str:
        """Finish the directory."""
        folder = Path(self._run.dir).parent
        self._run.finish()
        return f"{folder}; `wandb sync {folder}` uploads it"


def _id(run: PushedRun) -> str:
    """Return an id that W&B allows; of each branch one, so that a rollback does not mix two."""
    name = f"{run.run_id}-{run.branch}" if run.branch else run.run_id
    return "".join(char if char.isascii() and (char.isalnum() or char in "-_") else "_" for char in name)
