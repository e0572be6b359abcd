"""Cache of a folder's listing, read again only after the folder changed: it may hold 100,000 names."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

TIMESTAMP_GRANULARITY_SECONDS = 2.0
"""Two changes within this time may leave the same timestamp, on file systems with the coarsest resolution."""
SKEW_SECONDS = 60.0
"""Upper limit for the clock difference between this machine and a file server."""

T = TypeVar("T")

Stamp = tuple[int, int, int, int]


def folder_stamp(folder: Path) -> Stamp:
    """Return what changes when a name is added, removed or replaced; the last two items are timestamps in ns."""
    status = folder.stat()
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns


class DirectoryCache(Generic[T]):
    """Value that `read` returns for a folder, cached while the folder's timestamps do not change; thread-safe."""

    def __init__(
        self, folder: Path, read: Callable[[Path], T], absent: T, stamp: Callable[[Path], Stamp] = folder_stamp
    ) -> None:
        """Create an empty cache; `absent` is the value for a missing folder.

        `stamp` returns what shows a change of the folder, the last two items as timestamps in ns; it may raise OSError.
        """
        self._folder = folder
        self._read = read
        self._absent = absent
        self._stamp_of = stamp
        self._lock = threading.Lock()
        self._value = absent
        self._stamp: Stamp | None = None
        self._first_seen_at = float("inf")
        self._read_at = float("-inf")
        self._is_settled = False

    def current(self) -> T:
        """Return the current value; raises `OSError` if the folder cannot be read."""
        requested_at = time.monotonic()
        with self._lock:
            # Several threads may have waited for one read: a read that began after their call is recent enough.
            if self._read_at <= requested_at:
                self._refresh()
            return self._value

    def _refresh(self) -> None:
        try:
            stamp = self._stamp_of(self._folder)
            if stamp != self._stamp:
                self._stamp, self._first_seen_at, self._is_settled = stamp, time.monotonic(), False
            if not self._is_settled:
                self._reread(stamp)
        except (FileNotFoundError, NotADirectoryError):
            self._value, self._stamp = self._absent, None

    def _reread(self, stamp: Stamp) -> None:
        """Read the folder. The value is final only once a later change must have a different timestamp."""
        began_at = time.monotonic()
        is_old = time.time() - max(stamp[2:]) / 1e9 > SKEW_SECONDS
        self._value = self._read(self._folder)
        self._read_at = began_at
        self._is_settled = is_old or began_at - self._first_seen_at > TIMESTAMP_GRANULARITY_SECONDS
