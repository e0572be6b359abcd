"""What a folder holds, read again only after it changed: 100,000 names are not listed for every request."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

GRAIN_SECONDS = 2.0
"""Changes this close together may leave one and the same time at a folder, on the coarsest of file systems."""
SKEW_SECONDS = 60.0
"""More than this machine's clock may differ from that of the machine that holds the files."""

T = TypeVar("T")

_Stamp = tuple[int, int, int, int]


class DirectoryCache(Generic[T]):
    """The value that `read` makes of a folder, kept as long as the folder's times stay; safe to use from threads."""

    def __init__(self, folder: Path, read: Callable[[Path], T], absent: T) -> None:
        """`absent` is the value of a folder that is not there."""
        self._folder = folder
        self._read = read
        self._absent = absent
        self._lock = threading.Lock()
        self._value = absent
        self._stamp: _Stamp | None = None
        self._first_seen_at = float("inf")
        self._read_at = float("-inf")
        self._is_complete = False

    def current(self) -> T:
        """The value as it is now; raises `OSError` when the folder cannot be read."""
        asked_at = time.monotonic()
        with self._lock:
            # Many may have waited here for one reading: what was begun after they asked is new enough for them.
            if self._read_at <= asked_at:
                self._renew()
            return self._value

    def _renew(self) -> None:
        try:
            stamp = _stamp_of(self._folder)
            if stamp != self._stamp:
                self._stamp, self._first_seen_at, self._is_complete = stamp, time.monotonic(), False
            if not self._is_complete:
                self._read_anew(stamp)
        except (FileNotFoundError, NotADirectoryError):
            self._value, self._stamp = self._absent, None

    def _read_anew(self, stamp: _Stamp) -> None:
        """A reading just after a change may miss another change with the same time: it is repeated until it cannot."""
        began_at = time.monotonic()
        is_old = time.time() - max(stamp[2:]) / 1e9 > SKEW_SECONDS
        self._value = self._read(self._folder)
        self._read_at = began_at
        self._is_complete = is_old or began_at - self._first_seen_at > GRAIN_SECONDS


def _stamp_of(folder: Path) -> _Stamp:
    """What differs after a name in the folder was added, removed or replaced; the last two are its times."""
    status = folder.stat()
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns
