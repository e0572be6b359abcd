"""The hidden folder beside another in which that is built: a patch set, a forked run, a download; or a temporary one.

It is locked by the process that builds there. One whose lock is free was left by a killed process, on this machine or
another, and is removed when the same is built next.
"""

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from service.atomic_files import TEMPORARY_PREFIX
from service.run.lock import RunLock, take_lock

LOCK_FILE = ".lock"


@contextmanager
def building_folder(target: Path) -> Iterator[Path]:
    """Yield a folder to build `target` in, empty but for its lock; removed at the end, unless it was renamed.

    Raises `OSError`.
    """
    _remove_abandoned(target)
    folder, lock = _new_folder(target)
    try:
        yield folder
    finally:
        lock.close()
        shutil.rmtree(folder, ignore_errors=True)


def _new_folder(target: Path) -> tuple[Path, RunLock]:
    """Make and lock a folder; another one, if a process that starts at this moment takes it for abandoned."""
    while True:
        folder = target.parent / f"{TEMPORARY_PREFIX}{target.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
        folder.mkdir()
        with suppress(FileNotFoundError):
            lock = take_lock(folder / LOCK_FILE, 0.0)
            if lock is not None:
                return folder, lock


def finish(folder: Path, target: Path) -> None:
    """Rename the finished folder to what was built; replaces an empty folder only. Raises `OSError`."""
    (folder / LOCK_FILE).unlink()
    folder.replace(target)


def _remove_abandoned(target: Path) -> None:
    """Remove the folders in which killed processes were building `target`."""
    name = re.compile(rf"{re.escape(TEMPORARY_PREFIX + target.name)}\.[0-9]+\.[0-9a-f]{{8}}")
    for folder in target.parent.iterdir():
        if name.fullmatch(folder.name):
            with suppress(OSError):  # removed by another process, or that of another user
                _remove_if_abandoned(folder)


def _remove_if_abandoned(folder: Path) -> None:
    if (folder / LOCK_FILE).is_file() and (lock := take_lock(folder / LOCK_FILE, 0.0)) is not None:
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()
