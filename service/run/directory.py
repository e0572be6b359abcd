"""The run directory (`DATA_ROOT`): its paths, its archive, and the claim that a trainer makes on it.

Nothing is ever deleted: a fresh start moves the files of the earlier run to `archive/<run id>/`.
"""

import fcntl
import json
import os
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from service.atomic_files import sync_folder, write_atomically
from service.config.loader import LoadedConfig, plain_values
from service.errors import RunDirectoryError
from service.run.record import list_records, record_step

RUN_ENTRIES = ("checkpoints", "previews", "tensorboard", "training.log", "config.json", "run.json", "leitstand.db")
LOCK_POLL_SECONDS = 0.1
STORE_COMPANIONS = ("leitstand.db-wal", "leitstand.db-shm")


@dataclass(frozen=True)
class RunDirectory:
    """The paths inside one run directory."""

    root: Path

    @property
    def store(self) -> Path:
        """The SQLite store that the trainer and the API share."""
        return self.root / "leitstand.db"

    @property
    def log(self) -> Path:
        """`training.log`."""
        return self.root / "training.log"

    @property
    def config(self) -> Path:
        """`config.json`: the effective settings and the origin of each."""
        return self.root / "config.json"

    @property
    def identity(self) -> Path:
        """`run.json`, which holds the run's id."""
        return self.root / "run.json"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.root / "checkpoints"

    @property
    def previews(self) -> Path:
        """The folder of preview images."""
        return self.root / "previews"

    def run_id(self) -> str | None:
        """Return the id of the run in this directory, or None; raises `RunDirectoryError` if `run.json` is damaged."""
        try:
            return str(json.loads(self.identity.read_text())["run_id"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise RunDirectoryError(
                f"{self.identity} is damaged ({error}); restore it, or start with --fresh to archive this run."
            ) from None

    def holds_run(self) -> bool:
        """Return True if there are files that a new run must not overwrite; id and config alone do not count."""
        return any(path.name not in {"run.json", "config.json"} for path in self._run_entries())

    def _run_entries(self) -> list[Path]:
        if not self.root.is_dir():
            return []
        names = {*RUN_ENTRIES, *STORE_COMPANIONS}
        return [path for path in self.root.iterdir() if path.name in names or record_step(path.name) is not None]

    def archive(self) -> Path | None:
        """Move all files of the run to `archive/<run id>/`; returns that folder, or None if there were no files."""
        entries = self._run_entries()
        if not entries:
            return None
        target = self._archive_folder(self._archived_id())
        for path in sorted(entries):  # the store first: without it, no reader creates its companion files again
            try:
                path.rename(target / path.name)
            except FileNotFoundError:
                # SQLite deletes its companion files when the last reader, such as an API, closes the store.
                if path.name not in STORE_COMPANIONS:
                    raise
        sync_folder(target)
        sync_folder(self.root)
        return target

    def archive_of_branch(self, run_id: str, branch: int) -> Path:
        """Return the path of a new archive folder for the records that a rollback from this branch removes."""
        return self._free_name(f"{run_id}-branch-{branch}")

    def archive_records_after(self, step: int, target: Path | None = None) -> list[Path]:
        """Move records and previews after `step` to the archive, so that a run that continues at `step` keeps them.

        `target` is the archive folder; without it, `archive/<run id>-after-<step>` is used. Returns the old paths of
        the moved records.
        """
        records = [path for saved_step, path in list_records(self.root) if saved_step > step]
        previews = [path for path in _entries(self.previews) if _preview_step(path.name) > step]
        if records or previews:
            target = target or self._archive_folder(f"{self.run_id()}-after-{step}")
            target.mkdir(parents=True, exist_ok=True)
            for path in records:
                path.rename(target / path.name)
            if previews:
                (target / self.previews.name).mkdir(exist_ok=True)
            for path in previews:
                path.rename(target / self.previews.name / path.name)
            sync_folder(target)
            sync_folder(self.root)
        return records

    def _archived_id(self) -> str:
        try:
            return self.run_id() or "unnamed"
        except RunDirectoryError:
            return "unnamed"

    def _archive_folder(self, name: str) -> Path:
        """Create and return a folder in `archive/`; a number is appended if the name is taken."""
        folder = self._free_name(name)
        folder.mkdir(parents=True)
        return folder

    def _free_name(self, name: str) -> Path:
        parent = self.root / "archive"
        names = [name, *(f"{name}-{count}" for count in range(2, 10_000))]
        return next(parent / candidate for candidate in names if not (parent / candidate).exists())


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _preview_step(name: str) -> int:
    """Return the step in a preview folder's name, or -1."""
    digits = name.removeprefix("step_")
    return int(digits) if name.startswith("step_") and digits.isascii() and digits.isdigit() else -1


@dataclass(frozen=True)
class Claim:
    """A claim on a run directory: the run's id, and the file lock that the process holds until it ends."""

    run_id: str
    lock: IO[str]


def claim(directory: RunDirectory, *, resume: bool, fresh: bool, timeout_seconds: float = 0.0) -> Claim:
    """Lock the run directory and determine the run to train.

    `resume` continues an existing run or starts a new one, `fresh` archives an existing run. `timeout_seconds` is how
    long to wait for the lock, which processes left by a killed trainer may still hold. Raises `RunDirectoryError` if
    the directory cannot be written, is in use by another trainer, or holds a run and neither flag is set.
    """
    require_writable(directory.root)
    lock = _lock(directory.root, timeout_seconds)
    try:
        return Claim(_claimed_run_id(directory, resume=resume, fresh=fresh), lock)
    except (OSError, RunDirectoryError):
        lock.close()
        raise


def _claimed_run_id(directory: RunDirectory, *, resume: bool, fresh: bool) -> str:
    """Return the id of the run to continue, or of a new run, which is written to `run.json`."""
    if fresh:
        directory.archive()
    if directory.holds_run() and not resume:
        raise RunDirectoryError(
            f"{directory.root} already holds a run: continue it with --resume, "
            "archive it with --fresh, or choose another DATA_ROOT."
        )
    run_id = directory.run_id()
    if run_id is None:
        run_id = uuid.uuid4().hex[:12]
        write_atomically(directory.identity, json.dumps({"run_id": run_id}).encode() + b"\n")
    return run_id


def _lock(root: Path, timeout_seconds: float) -> IO[str]:
    """Take the exclusive lock on a run directory; the kernel releases it when the process ends for any reason."""
    lock = (root / ".lock").open("a")
    deadline = time.monotonic() + timeout_seconds
    while not _try_lock(lock):
        if time.monotonic() >= deadline:
            lock.close()
            raise RunDirectoryError(
                f"Another trainer is working in {root}; stop it (`leitstand stop`) or choose another DATA_ROOT."
            )
        time.sleep(LOCK_POLL_SECONDS)
    return lock


def _try_lock(lock: IO[str]) -> bool:
    """Try to take the lock without waiting; returns True if this process holds it now."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def write_config(directory: RunDirectory, loaded: LoadedConfig) -> dict[str, Any]:
    """Write the effective settings to `config.json`; returns them as plain values."""
    settings = plain_values(loaded.config)
    content = {"settings": settings, "origins": dict(loaded.origins)}
    write_atomically(directory.config, json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n")
    return settings


def require_writable(root: Path) -> None:
    """Create the run directory if it is missing; raises `RunDirectoryError` if it cannot be written."""
    probe = root / f".tmp-probe.{os.getpid()}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise RunDirectoryError(
            f"DATA_ROOT {root} cannot be written ({error.strerror}); choose another or mend its permissions."
        ) from None
