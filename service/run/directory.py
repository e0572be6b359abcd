"""The run directory (`DATA_ROOT`): where each thing lies, and how a start takes possession of it.

Nothing is ever deleted here: a fresh start moves an earlier run's files into `archive/<run id>/`.
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

OF_A_RUN = ("checkpoints", "previews", "tensorboard", "training.log", "config.json", "run.json", "leitstand.db")
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
        """`config.json`: the effective settings and where each came from."""
        return self.root / "config.json"

    @property
    def identity(self) -> Path:
        """`run.json`: the run's id."""
        return self.root / "run.json"

    @property
    def checkpoints(self) -> Path:
        """The folder of saved states."""
        return self.root / "checkpoints"

    @property
    def previews(self) -> Path:
        """The folder of preview pictures."""
        return self.root / "previews"

    def run_id(self) -> str | None:
        """The id of the run that lives here, or None."""
        try:
            return str(json.loads(self.identity.read_text())["run_id"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise RunDirectoryError(
                f"{self.identity} is damaged ({error}); restore it, or start with --fresh to archive this run."
            ) from None

    def holds_run(self) -> bool:
        """Whether anything of a run lies here that a new start must not touch; a failed start leaves only its name."""
        return any(path.name not in {"run.json", "config.json"} for path in self._belongings())

    def _belongings(self) -> list[Path]:
        if not self.root.is_dir():
            return []
        names = {*OF_A_RUN, *STORE_COMPANIONS}
        return [path for path in self.root.iterdir() if path.name in names or record_step(path.name) is not None]

    def archive(self) -> Path | None:
        """Move everything of the run that lives here into `archive/<run id>/`; returns that folder, or None."""
        belongings = self._belongings()
        if not belongings:
            return None
        target = self._archive_folder(self._archived_id())
        for path in sorted(belongings):  # the store before its companions: without it, no reader makes them again
            try:
                path.rename(target / path.name)
            except FileNotFoundError:
                # SQLite takes its companion files away when the last reader, such as an API, leaves.
                if path.name not in STORE_COMPANIONS:
                    raise
        sync_folder(target)
        sync_folder(self.root)
        return target

    def archive_of_branch(self, run_id: str, branch: int) -> Path:
        """A folder, not there yet, for what a rollback from this branch leaves behind."""
        return self._free_name(f"{run_id}-branch-{branch}")

    def archive_records_after(self, step: int, target: Path | None = None) -> list[Path]:
        """Move records and previews of later steps aside, so that a run that goes on at `step` never overwrites one.

        `target` is the folder for them; without it, a new one below `archive/` that says after which step.
        """
        later = [path for found, path in list_records(self.root) if found > step]
        pictures = [path for path in _entries(self.previews) if _preview_step(path.name) > step]
        if later or pictures:
            target = target or self._archive_folder(f"{self.run_id()}-after-{step}")
            target.mkdir(parents=True, exist_ok=True)
            for path in later:
                path.rename(target / path.name)
            if pictures:
                (target / self.previews.name).mkdir(exist_ok=True)
            for path in pictures:
                path.rename(target / self.previews.name / path.name)
            sync_folder(target)
            sync_folder(self.root)
        return later

    def _archived_id(self) -> str:
        try:
            return self.run_id() or "unnamed"
        except RunDirectoryError:
            return "unnamed"

    def _archive_folder(self, name: str) -> Path:
        """A new folder below `archive/`; a number is added where the name is taken."""
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
    """The step in a preview folder's name, or -1."""
    digits = name.removeprefix("step_")
    return int(digits) if name.startswith("step_") and digits.isascii() and digits.isdigit() else -1


@dataclass(frozen=True)
class Claim:
    """Possession of a run directory: the run's id, and the lock that lasts as long as this process."""

    run_id: str
    lock: IO[str]


def claim(directory: RunDirectory, *, resume: bool, fresh: bool, patience_seconds: float = 0.0) -> Claim:
    """Take possession of the run directory for a start.

    `resume` continues what is there (or starts anew when nothing is), `fresh` archives it. Raises `RunDirectoryError`
    when the directory cannot be written, is in use by another trainer, or holds a run and neither was asked for.
    `patience_seconds` is how long to wait for another trainer's end: what a killed one left behind may hold the lock.
    """
    require_writable(directory.root)
    lock = _lock(directory.root, patience_seconds)
    try:
        return Claim(_possessed_run(directory, resume=resume, fresh=fresh), lock)
    except (OSError, RunDirectoryError):
        lock.close()
        raise


def _possessed_run(directory: RunDirectory, *, resume: bool, fresh: bool) -> str:
    """The id of the run to continue or to begin, written down."""
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


def _lock(root: Path, patience_seconds: float) -> IO[str]:
    """The exclusive lock on a run directory; the kernel releases it however the process ends."""
    lock = (root / ".lock").open("a")
    deadline = time.monotonic() + patience_seconds
    while not _is_taken(lock):
        if time.monotonic() >= deadline:
            lock.close()
            raise RunDirectoryError(
                f"Another trainer is working in {root}; stop it (`leitstand stop`) or choose another DATA_ROOT."
            )
        time.sleep(LOCK_POLL_SECONDS)
    return lock


def _is_taken(lock: IO[str]) -> bool:
    """Whether the lock is ours now."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def write_config(directory: RunDirectory, loaded: LoadedConfig) -> dict[str, Any]:
    """Write the effective settings to `config.json`; returns them."""
    settings = plain_values(loaded.config)
    content = {"settings": settings, "origins": dict(loaded.origins)}
    write_atomically(directory.config, json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n")
    return settings


def require_writable(root: Path) -> None:
    """Make the run directory where it is missing; raises `RunDirectoryError` when it cannot be written."""
    probe = root / f".tmp-probe.{os.getpid()}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise RunDirectoryError(
            f"DATA_ROOT {root} cannot be written ({error.strerror}); choose another or mend its permissions."
        ) from None
