"""States that ranks leave in shared memory when another rank has died, for the next start by the same launcher.

    <folder>/<start>-<rank>/step_0000123/     a saved state, see `ddp/checkpoint/format.py`

All ranks have the same state after the same step, so any whole one is good. Ranks write one after the other, and one
that finds a state as new as its own writes none: rank 0 alone, which holds more, always writes.
"""

import errno
import fcntl
import logging
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ddp.checkpoint.format import (
    LoadedState,
    Reason,
    SavedState,
    UnusableError,
    checkpoint_name,
    load,
    step_in,
    write_state,
)
from service.atomic_files import TEMPORARY_PREFIX
from service.config import timeouts

LOCK_SECONDS = timeouts.STATE_LOCK_SECONDS
"""How long a rank waits for others to write; launchers kill ranks that do not end within some more."""
LOCK_POLL_SECONDS = 0.005
SPARE_SHARE, MAX_SPARE_BYTES = 8, 2**30
"""One part in so many of the shared memory stays free for others, but not more than so many bytes."""
OVERHEAD_BYTES = 2**20

_WRITER = re.compile(r"(?P<start>[0-9]+)-(?P<rank>[0-9]+)")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _LeftState:
    """A state as its name says: of which start of the ranks, and of which rank. It may be damaged."""

    start: int
    rank: int
    saved: SavedState

    @property
    def age(self) -> tuple[int, int, int]:
        """Sorts the newest first, and of equal ones rank 0's."""
        return -self.saved.step, -self.start, self.rank


class SurvivorStates:
    """The states that the ranks of one launch leave, all on one machine."""

    def __init__(self, folder: Path, start: int) -> None:
        """`start` counts the starts of the ranks by this launcher, from 0 on."""
        self._folder = folder
        self._start = start

    def leave(self, rank: int, step: int, state: Mapping[str, Any]) -> bool:
        """Write this rank's state; return False if another rank has left one as new.

        Raises `OSError`, also if the shared memory has too little room, and `TypeError` if the state could not be
        loaded again.
        """
        with self._locked():
            if rank != 0 and any(left.start == self._start and left.saved.step >= step for left in self._left()):
                return False
            self._require_room(state)
            name = f"{self._start}-{rank}"
            temporary = self._folder / f"{TEMPORARY_PREFIX}{name}"
            try:
                target = temporary / checkpoint_name(step)
                target.mkdir(parents=True)
                write_state(target, step, dict(state), reason=Reason.LEAVE, is_best=False)
                temporary.rename(self._folder / name)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
        return True

    def newest(self, world_size: int, at_least: int) -> LoadedState | None:
        """Load the newest usable state of a step from `at_least` on; None if there is none. Logs unusable ones."""
        for left in self._left():
            try:
                return _load(left, world_size, at_least)
            except UnusableError as error:
                name = checkpoint_name(left.saved.step)
                logger.warning("The state %s that rank %d left cannot be used: %s.", name, left.rank, error)
        return None

    def remove_earlier(self) -> None:
        """Remove the states of earlier starts, and the folder if nothing else is in it."""
        with suppress(OSError):
            for path in self._folder.iterdir():
                match = _WRITER.fullmatch(path.name.removeprefix(TEMPORARY_PREFIX))
                if match and int(match["start"]) < self._start:
                    shutil.rmtree(path, ignore_errors=True)
            self._folder.rmdir()

    def _left(self) -> list[_LeftState]:
        """Return the states that are there, the newest first."""
        found = []
        with suppress(OSError):
            _require_own(self._folder)
            for path in self._folder.glob("*-*/step_*"):
                writer, step = _WRITER.fullmatch(path.parent.name), step_in(path.name)
                if writer is not None and step is not None:
                    found.append(_LeftState(int(writer["start"]), int(writer["rank"]), SavedState(step, path)))
        return sorted(found, key=lambda left: left.age)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Make the folder, and let no other rank write meanwhile: the kernel frees the lock of one that is killed."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        _require_own(self._folder)
        descriptor, deadline = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY), time.monotonic() + LOCK_SECONDS
        try:
            while not _has_locked(descriptor):
                if time.monotonic() > deadline:
                    raise TimeoutError(errno.ETIMEDOUT, f"another rank has been writing for {LOCK_SECONDS:g} s")
                time.sleep(LOCK_POLL_SECONDS)
            yield
        finally:
            os.close(descriptor)

    def _require_room(self, state: Mapping[str, Any]) -> None:
        usage, needed = shutil.disk_usage(self._folder), _size_bytes(state) + OVERHEAD_BYTES
        spare = min(usage.total // SPARE_SHARE, MAX_SPARE_BYTES)
        if needed + spare > usage.free:
            what = f"{needed >> 20} MiB are needed and {spare >> 20} MiB stay free"
            raise OSError(errno.ENOSPC, f"{self._folder.parent} has {usage.free >> 20} MiB free, of which {what}")


def _load(left: _LeftState, world_size: int, at_least: int) -> LoadedState:
    """Load a state that was left. Raises `UnusableError`."""
    if left.saved.step < at_least:
        raise UnusableError(f"{checkpoint_name(at_least)} is on disk")
    loaded = load(left.saved)
    if (size := loaded.state.get("world_size")) != world_size:
        raise UnusableError(f"it is of {size} ranks, this start has {world_size}")
    return loaded


def _has_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _require_own(folder: Path) -> None:
    """Raise `OSError` unless this is a folder of this user: everybody may make files in the shared memory."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, f"{folder} is not a folder of this user")


def _size_bytes(value: Any) -> int:
    """Return the bytes of all tensors in a nested value."""
    if isinstance(value, Tensor):
        return value.nbytes
    if isinstance(value, Mapping):
        return sum(map(_size_bytes, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(_size_bytes, value))
    return 0
