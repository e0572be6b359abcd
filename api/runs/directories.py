"""The run directories on this machine: which run lives where. Directories come and go while the API serves."""

import threading
import time
from collections.abc import Mapping
from pathlib import Path

from api.runs.directory import CachedRunDirectory
from service.api_types import SkippedDirectory
from service.config.settings import RunConfig
from service.run.directory import RunDirectory
from service.run.discovery import RunFolders, real_path

KEPT_SECONDS = 1.0
"""How long it is believed that a run of the shared store has no directory here."""


class RunDirectories:
    """All run directories of the folders that the settings name; safe to use from several threads."""

    def __init__(self, config: RunConfig) -> None:
        self._folders = RunFolders.of(config)
        self._home = config.data_root
        self._lock = threading.Lock()
        self._places: dict[Path, CachedRunDirectory] = {}
        self._of_run: Mapping[str, CachedRunDirectory] = {}
        self._surveyed_at = float("-inf")

    def home(self) -> CachedRunDirectory:
        """The place of DATA_ROOT, also where nothing was started there."""
        return self._place(real_path(self._home))

    def of_run(self, run_id: str, *, is_expected: bool) -> CachedRunDirectory | None:
        """Where a run lives, None where it has no directory here.

        One that is not known is looked for, on every call only if it `is_expected` to have a directory.
        """
        place = self._of_run.get(run_id)
        if place is not None and place.run_id() == run_id:
            return place
        if is_expected or time.monotonic() > self._surveyed_at + KEPT_SECONDS:
            self.survey()
        return self._of_run.get(run_id)

    def survey(self) -> tuple[Mapping[str, CachedRunDirectory], list[SkippedDirectory]]:
        """Look at all directories: their places by run, in the order of the folders, and those that show no run.

        Of several that hold the same run, as a copy does, the one with the latest sign of life counts.
        """
        paths = self._folders.all()
        self._forget_all_but({*paths, real_path(self._home)})
        found: dict[str, CachedRunDirectory] = {}
        skipped: list[SkippedDirectory] = []
        for place in map(self._place, paths):
            run_id = place.run_id()
            if run_id is not None and run_id in found:
                found[run_id], hidden = _livelier(found[run_id], place)
                skipped.append(_copy(hidden, run_id, found[run_id]))
            elif run_id is not None:
                found[run_id] = place
            elif trouble := place.read_error():
                skipped.append(skipped_directory(place, trouble))
        self._of_run, self._surveyed_at = found, time.monotonic()
        return found, skipped

    def _place(self, path: Path) -> CachedRunDirectory:
        with self._lock:
            if path not in self._places:
                self._places[path] = CachedRunDirectory(RunDirectory(path))
            return self._places[path]

    def _forget_all_but(self, paths: set[Path]) -> None:
        with self._lock:
            for path in self._places.keys() - paths:
                del self._places[path]


def skipped_directory(place: CachedRunDirectory, reason: str) -> SkippedDirectory:
    """A directory that shows no run, for the list."""
    return {"directory": str(place.directory.root), "reason": reason}


def _livelier(first: CachedRunDirectory, second: CachedRunDirectory) -> tuple[CachedRunDirectory, CachedRunDirectory]:
    """The two with the one of the later sign of life first."""
    return (second, first) if second.heartbeat_at() > first.heartbeat_at() else (first, second)


def _copy(place: CachedRunDirectory, run_id: str, other: CachedRunDirectory) -> SkippedDirectory:
    return skipped_directory(place, f"it holds run {run_id}, as {other.directory.root} does, which is served")
