"""Aim, by its own library: a run for each branch in a repository of Aim, its rollbacks in the description."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from service.run.records.trackers.tracked_run import TrackedPoint, TrackedRun, library

FACTS, SETTINGS, STEP = "leitstand", "settings", "step"
"""Of an Aim run: the group of what is known of the run, that of its settings, and the newest step in the first."""


class AimTracker:
    """`Tracker` of Aim; `where` is the folder or server of its repository, None for that of Aim's own default."""

    def __init__(self, where: str | None, experiment: str) -> None:
        """Open the repository, or make it; raises `UserError` if the library is not installed."""
        self._aim = library("aim", "Aim", "aim")
        place = where or self._aim.Repo.default_repo_path()
        is_new = "://" not in place and not self._aim.Repo.exists(place)
        if is_new:
            Path(place).mkdir(parents=True, exist_ok=True)
        self._repo = self._aim.Repo.from_path(place, init=is_new)
        self._experiment = experiment
        self._run: Any = None

    def begin(self, run: TrackedRun) -> int:
        """Find or make the Aim run of this branch."""
        label = f"leitstand {run.run_id} branch {run.branch}"
        found = next(self._hashes(label), None)
        newest = -1
        if found is not None:
            self._run = self._opened(found)
            newest = int(self._run.get((FACTS, STEP), -1))
        if found is None or not run.is_continuation_of(newest):
            self._close()
            self._run, newest = self._made(run, label, is_again=found is not None), -1
        rollbacks = [f"rollback: {text}" for text in run.rollbacks]
        if text := "\n".join(filter(None, [run.note, *rollbacks])):
            self._run.description = text
        return newest

    def _hashes(self, label: str) -> Iterator[str]:
        """Yield the hashes of Aim runs that have a tag, the newest first."""
        found = [
            item.run for item in self._repo.query_runs(f"{label!r} in run.tags", report_mode=0).iter_runs()
        ]  # by tags, because Aim reads other values from an index that only its server and `aim storage reindex` write
        yield from (run.hash for run in sorted(found, key=lambda run: run.creation_time, reverse=True))

    def _opened(self, run_hash: str | None) -> Any:
        return self._aim.Run(
            run_hash, repo=self._repo, experiment=self._experiment,
            system_tracking_interval=None, log_system_params=False, capture_terminal_logs=False,
        )  # fmt: skip

    def _made(self, run: TrackedRun, label: str, *, is_again: bool) -> Any:
        made = self._opened(None)
        made.name = run.start_name if is_again else run.branch_name
        made.add_tag(label)
        made[FACTS] = {"run_id": run.run_id, "branch": run.branch, **run.facts}
        made[SETTINGS] = dict(run.settings)
        return made

    def add(self, points: Sequence[TrackedPoint]) -> None:
        """Track numbers at their steps, and up to which step they are there."""
        for point in points:
            for tag, value in point.timed_scalars.items():
                self._run.track(value, name=tag, step=point.step)
        self._run[FACTS, STEP] = points[-1].step

    def end(self, state: str) -> str:
        """Close the run, with its state among the facts."""
        run_hash = self._run.hash
        if state:
            self._run[FACTS, "state"] = state
        self._close()
        return f"Aim's run {run_hash}"

    def _close(self) -> None:
        if self._run is not None:
            self._run.close()
            self._run = None
