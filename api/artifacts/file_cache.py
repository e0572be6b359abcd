"""A cache of values computed from the files of one folder, each until its file changes."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from api.artifacts.lru_cache import LruCache

TIMESTAMP_GRANULARITY_SECONDS = 2.0
"""A file may change again within this time without a new timestamp, so a newer file is not cached."""

V = TypeVar("V")

Stamp = tuple[int, ...]
"""Changes with every change of a file, but for changes within the granularity of its timestamps."""


class FileCache(Generic[V]):
    """At most `max_entries` values, the most recently used ones; thread-safe."""

    def __init__(self, folder: Path, max_entries: int) -> None:
        self._folder = folder
        self._cache: LruCache[str, tuple[Stamp, V]] = LruCache(max_entries)

    def of(self, name: str, compute: Callable[[str], V]) -> V:
        """Return `compute(name)` for the present file `name`; raises `FileNotFoundError`."""
        # Called thousands of times per answer: building a Path would double the cost.
        status = os.lstat(f"{self._folder}/{name}")
        stamp = stamp_of(status)
        cached = self._cache.get(name)
        if cached is not None and cached[0] == stamp:
            return cached[1]
        value = compute(name)
        if is_settled(status):
            self._cache.put(name, (stamp, value))
        return value


def stamp_of(status: os.stat_result) -> Stamp:
    """Return the stamp of a file with this status."""
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size


def is_settled(status: os.stat_result) -> bool:
    """Return True if a later change of the file must give it another stamp."""
    return time.time() - max(status.st_mtime, status.st_ctime) > TIMESTAMP_GRANULARITY_SECONDS
