"""The claim that a trainer makes on a run directory, and what it removes there.

A killed trainer leaves partly written files, whose names tell what they were to become and which process wrote them.
They are removed only if the name is one that trainers write, that process does not write it any more, and the directory
is locked, so that no other trainer works there.
"""

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from service.atomic_files import TEMPORARY_PREFIX, read_small_file
from service.errors import RunDirectoryError
from service.run.directory import IDENTITY_IN_CONFIG, RunDirectory, require_writable
from service.run.identity import RunIdentity, new_run_id
from service.run.lock import RunLock, holder_of, take_lock
from service.run.record import list_records, saved_step

_TEMPORARY = re.compile(rf"{re.escape(TEMPORARY_PREFIX)}(?P<name>.+)\.(?P<pid>[0-9]{{1,10}})(?:\.[0-9a-f]{{8}})?")
"""The temporary names of `service/atomic_files.py`."""
LOCK_FILE = ".lock"
_NAMES = frozenset({"config.json", "run.json", "probe"})


@dataclass(frozen=True)
class Claim:
    """A claim on a run directory: the run's identity, and the lock that the process holds until it ends.

    `note` says what became of the identity of a run whose `run.json` was missing, and is None otherwise.
    """

    identity: RunIdentity
    lock: RunLock
    note: str | None = None


def claim(directory: RunDirectory, *, resume: bool, fresh: bool, timeout_seconds: float = 0.0) -> Claim:
    """Lock the run directory and determine the run to train.

    `resume` continues an existing run or starts a new one, `fresh` archives an existing run. `timeout_seconds` is how
    long to wait for the lock, which processes left by a killed trainer may still hold. Raises `RunDirectoryError` if
    the directory cannot be written, is in use by another trainer, or holds a run and neither flag is set.
    """
    require_writable(directory.root)
    lock = _lock(directory.root, timeout_seconds)
    try:
        identity, note = _claimed_identity(directory, resume=resume, fresh=fresh)
        remove_leftovers(directory.root, directory.previews)
        return Claim(identity, lock, note)
    except (OSError, RunDirectoryError):
        lock.close()
        raise


def _claimed_identity(directory: RunDirectory, *, resume: bool, fresh: bool) -> tuple[RunIdentity, str | None]:
    """Return the identity of the run to continue, or of a new run, which is written to `run.json`.

    Of a run without `run.json`, a sentence says whether `config.json` still had its identity.
    """
    if fresh:
        directory.archive()
    if directory.holds_run() and not resume:
        raise RunDirectoryError(
            f"{directory.root} already holds a run: continue it with --resume, "
            "archive it with --fresh, or choose another DATA_ROOT."
        )
    identity, note = directory.read_identity(), None
    if identity is None:
        kept = _identity_in_config(directory) if directory.holds_run() else None
        identity = kept or RunIdentity(new_run_id())
        directory.write_identity(identity)
        if kept is not None or _has_trained(directory):
            note = _note_of_missing(directory, identity, is_kept=kept is not None)
    return identity, note


def _identity_in_config(directory: RunDirectory) -> RunIdentity | None:
    """Return the identity that the last start wrote to `config.json`, or None if it cannot be read there."""
    try:
        return RunIdentity.of(json.loads(read_small_file(directory.config))[IDENTITY_IN_CONFIG])
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return None


def _has_trained(directory: RunDirectory) -> bool:
    """Return True if a run has left records, checkpoints or a store; an empty folder may have been made before it."""
    has_store = directory.store.is_file() and directory.store.stat().st_size > 0
    has_checkpoints = directory.checkpoints.is_dir() and any(directory.checkpoints.iterdir())
    return has_store or has_checkpoints or bool(list_records(directory.root))


def _note_of_missing(directory: RunDirectory, identity: RunIdentity, *, is_kept: bool) -> str:
    if is_kept:
        return (
            f"{directory.identity} was missing and is written again: by config.json, this is run {identity.run_id}, "
            "which goes on."
        )
    return (
        f"{directory.identity} was missing, and nothing else says which run this is: it goes on as a new run, "
        f"{identity.run_id}, and the curves, commands and events of the earlier id stay in the store. To have that id "
        "again, restore run.json and start anew."
    )


def require_untrained(directory: RunDirectory) -> None:
    """Raise `RunDirectoryError` if a trainer works in the directory now: it names the run and the trainer's process."""
    holder = holder_of(directory.root / LOCK_FILE)
    if holder is not None:
        run_id = directory.run_id()
        raise RunDirectoryError(
            f"{directory.root} is being trained already{f' ({holder})' if holder else ''}"
            f"{f': run {run_id} goes on there' if run_id else ''}. `leitstand watch` shows it, `leitstand stop --wait` "
            "ends it; to train another run beside it, choose another DATA_ROOT and API_PORT."
        )


def _lock(root: Path, timeout_seconds: float) -> RunLock:
    """Take the exclusive lock on a run directory."""
    lock = take_lock(root / LOCK_FILE, timeout_seconds)
    if lock is None:
        raise RunDirectoryError(
            f"Another trainer is working in {root}; stop it (`leitstand stop`) or choose another DATA_ROOT."
        )
    return lock


def remove_leftovers(root: Path, previews: Path) -> None:
    """Remove what killed trainers left in a run directory and its previews; the caller has locked the directory."""
    for folder in (root, *previews.glob("step_*")):
        for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
            match = _TEMPORARY.fullmatch(path.name)
            if match is None or not _is_trainers(match["name"], is_preview=folder != root):
                continue
            if not _is_written(path, int(match["pid"])):
                with suppress(OSError):  # tried again at the next start
                    path.unlink()


def _is_trainers(name: str, *, is_preview: bool) -> bool:
    return name.endswith(".webp") if is_preview else name in _NAMES or saved_step(name) is not None


def _is_written(path: Path, pid: int) -> bool:
    """Whether the process of this number may be writing the file; it may have been the number of an earlier process."""
    if pid in {0, os.getpid()}:  # this one has just started
        return pid == 0
    try:
        os.kill(pid, 0)
        descriptors = list(Path(f"/proc/{pid}/fd").iterdir())  # in a new container, other processes get these numbers
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return any(_is_same(descriptor, path) for descriptor in descriptors)


def _is_same(descriptor: Path, path: Path) -> bool:
    try:
        return descriptor.samefile(path)
    except OSError:  # closed or removed meanwhile
        return False
