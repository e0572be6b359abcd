"""The lock on a run directory: a file that the kernel keeps locked until the trainer's process ends.

The file can be removed or replaced while it is locked; then another trainer could lock the one at the path.

Before there is a trainer, its launcher holds a mark of the same kind (`launch_mark`): importing torch takes seconds.
"""

import fcntl
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import IO

from service.atomic_files import opened_without_waiting

POLL_SECONDS = 0.1
LAUNCH_MARK = ".launching"
"""File in a run directory that is locked while a launcher of trainers lives."""
CHECK_SECONDS = 1.0
"""How often a trainer checks its lock: as often as it sends a heartbeat."""


class LockState(Enum):
    """What has become of a lock: still held, locked again after its file was removed, or another trainer's."""

    HELD = "held"
    RENEWED = "renewed"
    TAKEN = "taken"


class RunLock:
    """A locked file. The kernel releases it when the process ends for any reason."""

    def __init__(self, path: Path, file: IO[str]) -> None:
        """Take over `file`, which is locked and was opened at `path`; who holds it is written into it."""
        self._path = path
        self._file = file
        self._text = f"{socket.gethostname()} {os.getpid()} {uuid.uuid4().hex}\n"
        self._write_holder()

    def close(self) -> None:
        """Release the lock."""
        self._file.close()

    def check(self) -> LockState:
        """Return whether the lock is still held; if its file was removed and nobody locked another, lock it again."""
        if self.is_at_path():
            return LockState.HELD
        try:
            file = _open(self._path)
        except OSError:  # the whole directory is away, or cannot be written; nobody can have locked it
            return LockState.HELD
        if not _try_lock(file):
            file.close()
            return LockState.HELD if self._is_own_text() else LockState.TAKEN
        self._file.close()
        self._file = file
        self._write_holder()
        return LockState.RENEWED

    def holder(self) -> str:
        """Return for people who holds the lock at the path, for example `gpu-07, process 4711`; empty if unknown."""
        return _holder_at(self._path)

    def is_at_path(self) -> bool:
        """Return whether the locked file is the one at the path, neither removed nor replaced nor moved."""
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
        except OSError:
            return False

    def _is_own_text(self) -> bool:
        """Return True if the file at the path is this one, though its file system gives it another number now."""
        try:
            return self._path.read_text() == self._text
        except (OSError, ValueError):
            return False

    def _write_holder(self) -> None:
        with suppress(OSError):  # for people, and for file systems with changing numbers
            self._file.truncate(0)
            self._file.write(self._text)
            self._file.flush()


def take_lock(path: Path, timeout_seconds: float) -> RunLock | None:
    """Lock the file at a path, which is created; return None if it is locked for longer than `timeout_seconds`.

    Raises `OSError`.
    """
    file = _open(path)
    deadline = time.monotonic() + timeout_seconds
    while not _try_lock(file):
        if time.monotonic() >= deadline:
            file.close()
            return None
        time.sleep(POLL_SECONDS)
    return RunLock(path, file)


def holder_of(path: Path) -> str | None:
    """Return for people who holds the lock at a path, empty if that is unknown; None if nobody does."""
    try:
        with open(path, encoding="utf-8", opener=opened_without_waiting) as file:
            return None if _try_lock(file) else _holder_at(path)
    except OSError:
        return None


def _holder_at(path: Path) -> str:
    try:
        host, pid, _ = path.read_text().split()
    except (OSError, ValueError):
        return ""
    return f"{host}, process {pid}"


def _open(path: Path) -> IO[str]:
    return open(path, "a", encoding="utf-8", opener=opened_without_waiting)


def _try_lock(file: IO[str]) -> bool:
    """Try to take the lock without waiting; return True if this process holds it now."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def launch_mark(root: Path) -> Iterator[None]:
    """Mark a run directory as one in which this process launches a training; without effect if it cannot be written.

    Only what people are told depends on it.
    """
    path = root / LAUNCH_MARK
    try:
        file = _open(path)
        fcntl.flock(file, fcntl.LOCK_SH)
    except OSError:
        yield
        return
    with file:
        try:
            yield
        finally:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def is_launching(root: Path) -> bool:
    """Return True if a launcher that has marked this run directory is alive."""
    try:
        with open(root / LAUNCH_MARK, encoding="utf-8", opener=opened_without_waiting) as file:
            return not _try_lock(file)
    except OSError:
        return False


class LockWatch:
    """Checks the lock on a run directory now and then; used by one thread."""

    def __init__(
        self, lock: RunLock | None, *, on_renewed: Callable[[], object], on_taken: Callable[[str], object]
    ) -> None:
        """`on_renewed` and `on_taken` are each called at most once; `on_taken` receives who holds the lock now."""
        self._lock = lock
        self._on_renewed = on_renewed
        self._on_taken = on_taken
        self._was_renewed = False
        self._is_taken = False
        self._checked_at = float("-inf")

    def check_if_due(self, now: float) -> None:
        """Check the lock if CHECK_SECONDS have passed since the last time, at the monotonic time `now` (s)."""
        if now >= self._checked_at + CHECK_SECONDS:
            self._checked_at = now
            self.is_held()

    def is_held(self) -> bool:
        """Check the lock now; return False once another trainer has locked the directory."""
        if self._lock is None or self._is_taken:
            return not self._is_taken
        state = self._lock.check()
        if state is LockState.TAKEN:
            self._is_taken = True
            self._on_taken(self._lock.holder())
        elif state is LockState.RENEWED and not self._was_renewed:
            self._was_renewed = True
            self._on_renewed()
        return not self._is_taken
