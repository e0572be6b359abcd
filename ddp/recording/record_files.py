"""The files of records: written whole, and never in the place of a record that this run's trainer did not write.

Another trainer can write to the same run directory, after its lock was removed. Both keep their records: those of the
trainer that was there first are found in `archive/<run id>-other-trainer/`.
"""

import hashlib
import json
import logging
import os
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from service.atomic_files import move_without_replacing, read_small_file, sync_folder, write_atomically
from service.run.directory import CHECKPOINTS, PREVIEWS, RunDirectory
from service.run.lock import LockWatch, RunLock
from service.run.record import PACKED, list_records
from service.run.records.keeping.packing import read_saved
from service.run.run_folder import RunFolder

MAX_TRIES = 5
"""How often a record's place is cleared for it, while another trainer fills the place again."""

logger = logging.getLogger(__name__)


class RecordFiles:
    """Writes record files; used by the recorder's thread."""

    def __init__(
        self, directory: RunDirectory, run_id: str, on_kept: Callable[[Mapping[str, Any]], None] = lambda _: None
    ) -> None:
        """`on_kept` is called once, with what happened, when a record of another trainer is met for the first time."""
        self._directory = directory
        self._run_id = run_id
        self._on_kept = on_kept
        self._written: dict[str, str] = {}
        self._found: dict[str, tuple[int, int, int] | None] = {}
        self._has_kept = False
        self.is_guest = False
        """True while another trainer works in the run directory: then all records are written into the archive."""
        with suppress(OSError):
            self._found = {path.name: _identity(path) for _, path in list_records(directory.root)}

    def guest_folder(self, name: str) -> Path:
        """Return the folder of the archive for a file of this name, while another trainer has the run directory."""
        return self._directory.other_trainers_folder(self._run_id, name)

    def previews_folder(self) -> Path:
        """Return the folder of previews: one in the archive, while another trainer has the run directory."""
        return self.guest_folder(PREVIEWS) / PREVIEWS if self.is_guest else self._directory.previews

    def write(self, name: str, content: bytes, folder: Path | None = None) -> tuple[Path, str]:
        """Write a record into a folder, by default the run directory; return where it is, and its SHA-256.

        Raises `OSError`.
        """
        if folder is None:
            folder = self._directory.root
        else:
            folder.mkdir(parents=True, exist_ok=True)
        for _ in range(MAX_TRIES):
            with suppress(FileExistsError):
                self._remove_packed(folder / f"{name}{PACKED}")
                sha256 = write_atomically(folder / name, content, replaces=self._make_room(folder / name, content))
                self._written[name] = sha256
                return folder, sha256
        raise FileExistsError(f"{folder / name} is written by another trainer again and again")

    def _make_room(self, path: Path, content: bytes) -> bool:
        """Return True if there is a file that may be replaced; move one that may not be replaced to the archive."""
        try:
            present = read_small_file(path)
        except FileNotFoundError:
            return False
        except OSError:
            if path.is_file():
                raise
            self._keep(path)  # a folder, a pipe
            return False
        if present == content or self._is_own(path, present):
            return True
        self._keep(path)
        return False

    def _remove_packed(self, path: Path) -> None:
        """Remove a packed record of the same step, which this one replaces; move another run's to the archive."""
        try:
            is_own = self._belongs_to_run(read_saved(path))
        except FileNotFoundError:
            return
        except ValueError:
            is_own = False
        if is_own:
            path.unlink(missing_ok=True)
        else:
            self._keep(path)

    def _is_own(self, path: Path, content: bytes) -> bool:
        """Return True if this trainer wrote the file, or an earlier one of the run before this one started."""
        if self._written.get(path.name) == hashlib.sha256(content).hexdigest():
            return True
        found = self._found.get(path.name)
        return found is not None and found == _identity(path) and self._belongs_to_run(content)

    def _belongs_to_run(self, content: bytes) -> bool:
        try:
            record = json.loads(content)
        except ValueError:
            return False
        return isinstance(record, dict) and record.get("run_id", self._run_id) == self._run_id

    def _keep(self, path: Path) -> None:
        """Move another's record and its previews to the archive; the first time it is said."""
        self._directory.archive_folder.mkdir(exist_ok=True)
        taken = self._directory.archive_folder / f"{path.name}.{uuid.uuid4().hex}"
        try:
            path.rename(taken)  # what is moved further is exactly one file, whatever another trainer does meanwhile
        except FileNotFoundError:
            return
        folder = self._put_aside(taken, path.name)
        previews = self._directory.previews_of(path.name)
        if previews.is_dir():
            (folder / previews.parent.name).mkdir(exist_ok=True)
            with suppress(OSError):  # another trainer moves them, too
                previews.rename(folder / previews.parent.name / previews.name)
        sync_folder(folder)
        self._say_once(path.name, folder)

    def _put_aside(self, taken: Path, name: str) -> Path:
        """Move a file into the first folder of other trainers that has none of this name; return the folder."""
        while True:
            folder = self.guest_folder(name)
            folder.mkdir(exist_ok=True)
            with suppress(FileExistsError):
                move_without_replacing(taken, folder / name)
                return folder

    def _say_once(self, name: str, folder: Path) -> None:
        if not self._has_kept:
            self._has_kept = True
            reason = f"{name} was there and is not of this trainer; it was moved to {folder}, so that both stay."
            logger.warning("%s", reason)
            self._on_kept({"name": name, "folder": folder.name, "reason": reason})


class DirectoryWatch:
    """Checks the lock on the run directory; once another trainer has it, this one's files go to the archive.

    `check_if_due` and `is_held` are for the recorder's thread.
    """

    def __init__(
        self,
        directory: RunDirectory,
        files: RecordFiles,
        *,
        on_renewed: Callable[[str], object],
        on_taken: Callable[[str], object],
        on_lost: Callable[[str], object] = lambda _: None,
    ) -> None:
        """`on_renewed` and `on_taken` are each called at most once, with the reason for people, which is logged.

        `on_lost` is called likewise whenever the directory had to be made again.
        """
        self._on_lost = on_lost
        self._directory = directory
        self._files = files
        self._on_renewed = on_renewed
        self._on_taken = on_taken
        self._folder: RunFolder | None = None
        self._move_checkpoints: Callable[[Path], object] = lambda _: None
        self._lock = LockWatch(None, on_renewed=self._renewed, on_taken=self._taken)

    def begin(self, lock: RunLock | None, folder: RunFolder, move_checkpoints: Callable[[Path], object]) -> None:
        """Begin to check `lock` and keep `folder`; `move_checkpoints` receives another folder if the lock is lost."""
        self._folder = folder
        self._move_checkpoints = move_checkpoints
        self._lock = LockWatch(lock, on_renewed=self._renewed, on_taken=self._taken)

    @property
    def is_pending(self) -> bool:
        """True if something is not in `run.json` yet."""
        return self._folder is not None and not self._files.is_guest and self._folder.is_pending

    def note_checkpoint(self, step: int) -> None:
        """Note the step of the checkpoint that was saved last. Called on the checkpoint writer's thread."""
        if self._folder is not None:
            self._folder.note_checkpoint(step)

    def check_if_due(self, now: float) -> None:
        """Check folder and lock, but not more often than heartbeats are sent, and write `run.json` if there is news.

        `now` is the monotonic time in seconds.
        """
        self._lock.check_if_due(now)
        if self._folder is not None and not self._files.is_guest:
            self._folder.keep(now, self._on_lost)

    def is_held(self) -> bool:
        """Check the lock now; return False once another trainer has it."""
        return self._lock.is_held()

    def _renewed(self) -> None:
        reason = f".lock was removed from {self._directory.root} while this trainer works there; it is locked again."
        logger.warning("%s", reason)
        self._on_renewed(reason)

    def _taken(self, holder: str) -> None:
        self._files.is_guest = True
        self._move_checkpoints(self._files.guest_folder(CHECKPOINTS) / CHECKPOINTS)
        reason = (
            f"Another trainer ({holder or 'of an earlier version'}) works in {self._directory.root} since .lock was "
            f"removed there; this one writes to {self._directory.archive_folder}: end one of the two."
        )
        logger.warning("%s", reason)
        self._on_taken(reason)


def _identity(path: Path) -> tuple[int, int, int] | None:
    """Return what stays the same as long as nobody writes the file: number, time of change (ns), size (bytes).

    None if the file is gone: another trainer moves files, too. Raises `OSError`.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
