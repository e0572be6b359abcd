"""Run directories on this machine, by run. Directories may appear and disappear while the API serves."""

import threading
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from api.runs.cached_directory import CachedRunDirectory
from service.api_types import SkippedDirectory
from service.config.settings import RunConfig
from service.run.directory import RunDirectory
from service.run.discovery import RunFolders, real_path

ABSENT_CACHE_SECONDS = 1.0
"""How long to rely on a run of the shared store having no directory here before scanning again."""


class RunDirectories:
    """All run directories in the folders that the settings name; thread-safe."""

    def __init__(self, config: RunConfig) -> None:
        self._folders = RunFolders.of(config)
        self._data_root = config.data_root
        self._lock = threading.Lock()
        self._cached_directories: dict[Path, CachedRunDirectory] = {}
        self._by_run: Mapping[str, CachedRunDirectory] = {}
        self._scanned_roots: tuple[Path, ...] = ()
        self._scanned_at = float("-inf")

    def data_root(self) -> CachedRunDirectory:
        """Return the directory DATA_ROOT, whether or not a run was started there."""
        return self._cached(real_path(self._data_root))

    def find(self, run_id: str, *, is_expected: bool) -> CachedRunDirectory | None:
        """Return the directory of a run; None if it has none on this machine.

        An unknown run causes a new scan: at every call if it `is_expected` to have a directory, otherwise at most once
        per ABSENT_CACHE_SECONDS. So do root folders that are links and lead elsewhere by now.
        """
        cached_directory = self._by_run.get(run_id)
        is_known = cached_directory is not None and cached_directory.run_id() == run_id
        if is_known and self._folders.real_roots() == self._scanned_roots:
            return cached_directory
        if is_known or is_expected or time.monotonic() > self._scanned_at + ABSENT_CACHE_SECONDS:
            self.scan()
        return self._by_run.get(run_id)

    def scan(self) -> tuple[Mapping[str, CachedRunDirectory], list[SkippedDirectory]]:
        """Scan all folders; returns the directories by run in the order of the folders, and the skipped ones.

        If several directories hold the same run, as copies do, the one with the latest heartbeat is used. A directory
        that is gone, though its run has not ended, is kept unless the run is found elsewhere.
        """
        roots = self._folders.real_roots()
        paths = self._folders.all()
        vanished = self._vanished(paths)
        self._keep_only({*paths, *vanished, real_path(self._data_root)})
        found: dict[str, CachedRunDirectory] = {}
        skipped: list[SkippedDirectory] = []
        for cached_directory in map(self._cached, paths):
            run_id = cached_directory.run_id()
            if run_id is not None and run_id in found:
                found[run_id], duplicate = _by_heartbeat(found[run_id], cached_directory)
                skipped.append(_duplicate(duplicate, run_id, found[run_id]))
            elif run_id is not None:
                found[run_id] = cached_directory
            elif error := cached_directory.read_error():
                skipped.append(skipped_directory(cached_directory, error))
        for path in vanished:
            directory = self._cached(path)
            run_id = directory.run_id()
            if run_id is not None and found.setdefault(run_id, directory) is not directory:
                directory.forget()
        self._by_run, self._scanned_roots, self._scanned_at = found, roots, time.monotonic()
        return found, skipped

    def _vanished(self, paths: Collection[Path]) -> list[Path]:
        """Return the paths of directories that are gone, though their runs have not ended."""
        with self._lock:
            known = dict(self._cached_directories)
        return [path for path, directory in known.items() if path not in paths and directory.vanished_row() is not None]

    def _cached(self, path: Path) -> CachedRunDirectory:
        with self._lock:
            if path not in self._cached_directories:
                self._cached_directories[path] = CachedRunDirectory(RunDirectory(path))
            return self._cached_directories[path]

    def _keep_only(self, paths: set[Path]) -> None:
        with self._lock:
            for path in self._cached_directories.keys() - paths:
                del self._cached_directories[path]


def skipped_directory(cached_directory: CachedRunDirectory, reason: str) -> SkippedDirectory:
    """Return the list entry of a directory whose run cannot be served."""
    return {"directory": str(cached_directory.directory.root), "reason": reason}


def _by_heartbeat(one: CachedRunDirectory, other: CachedRunDirectory) -> tuple[CachedRunDirectory, CachedRunDirectory]:
    """Return both directories, the one with the later heartbeat first."""
    return (other, one) if other.heartbeat_at() > one.heartbeat_at() else (one, other)


def _duplicate(cached_directory: CachedRunDirectory, run_id: str, other: CachedRunDirectory) -> SkippedDirectory:
    return skipped_directory(
        cached_directory, f"it holds run {run_id}, as {other.directory.root} does, which is served"
    )
