"""Trackio, by its own library: a run for each branch, in its SQLite file on this machine."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from service.run.records.trackers.tracked_run import TrackedPoint, TrackedRun, library


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

    def begin(self, run: TrackedRun) -> int:
        """Begin the run of this branch anew."""
        facts = {f"leitstand.{key}": text for key, text in run.facts.items()}
        told = {"note": run.note, "rollbacks": "; ".join(run.rollbacks)}
        config = {**run.settings, **facts, **{f"leitstand.{key}": text for key, text in told.items() if text}}
        self._name = run.start_name
        self._run = self._trackio.init(project=self._project, name=self._name, config=config, resume="never")
        return -1

    def add(self, points: Sequence[TrackedPoint]) -> None:
        """Log numbers at their steps."""
        for point in points:
            self._trackio.log(point.timed_scalars, step=point.step)

    def end(self, state: str) -> str:  # noqa: ARG002 - trackio keeps no state
        """Wait until all is in the file."""
        self._trackio.finish()
        return f"trackio's run {self._name} of project {self._project}"
