"""Trackio, by its own library: a run for each branch, in its SQLite file on this machine."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from service.cli.stats.exchange.pushed import PushedPoint, PushedRun, library

TIME = "leitstand/unix_seconds"
"""When a record was made: trackio itself knows only when it was pushed."""


class TrackioTracker:
    """`Tracker` of trackio; `where` is its folder, None for that of TRACKIO_DIR or its default."""

    def __init__(self, where: str | None, experiment: str) -> None:
        """Use the library; raises `UserError` if it is not installed."""
        if where is not None:
            Path(where).mkdir(parents=True, exist_ok=True)
            os.environ["TRACKIO_DIR"] = where  # read when the library is imported
        self._trackio = library("trackio", "Trackio", "trackio")
        self._project = experiment
        self._run: Any = None

    def begin(self, run: PushedRun) -> int:
        """Begin the run of this branch anew."""
        name = f"{run.name}, branch {run.branch}" if run.branch else run.name
        facts = {f"leitstand.{key}": text for key, text in run.facts.items()}
        told = {"note": run.note, "rollbacks": "; ".join(run.rollbacks)}
        config = {**run.settings, **facts, **{f"leitstand.{key}": text for key, text in told.items() if text}}
        self._name = name
        self._run = self._trackio.init(project=self._project, name=name, config=config, resume="never")
        return -1

    def add(self, points: Sequence[PushedPoint]) -> None:
        """Log the numbers of records at their steps."""
        for point in points:
            at = {} if point.at is None else {TIME: point.at}
            self._trackio.log({**point.scalars, **at}, step=point.step)

    def end(self) -> str:
        """Wait until all is in the file."""
        self._trackio.finish()
        return f"trackio's run {self._name} of project {self._project}"
