"""The run directory (`DATA_ROOT`): its paths, its archive, and the settings of its last start.

Nothing is ever deleted: a fresh start moves the files of the earlier run to `archive/<run id>/`.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from service.atomic_files import read_small_file, sync_folder, write_atomically
from service.config.loader import LoadedConfig, plain_values
from service.errors import RunDirectoryError, plain_reason, printable, reason_and_remedy
from service.run.identity import RunIdentity
from service.run.record import list_records, saved_step

CHECKPOINTS = "checkpoints"
PREVIEWS = "previews"
PROVENANCE = "provenance"
HANGS = "hangs"
RUN_ENTRIES = (
    CHECKPOINTS,
    PREVIEWS,
    PROVENANCE,
    HANGS,
    "tensorboard",
    "training.log",
    "config.json",
    "run.json",
    "leitstand.db",
    "ro-crate-metadata.json",
    "signatures",
)
IDENTITY_IN_CONFIG = "run"
"""Key in `config.json` of a copy of `run.json` as it was at the last start."""
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
        return self.root / CHECKPOINTS

    @property
    def previews(self) -> Path:
        """The folder of preview images."""
        return self.root / PREVIEWS

    @property
    def provenance(self) -> Path:
        """The folder of what each start was made from."""
        return self.root / PROVENANCE

    def run_id(self) -> str | None:
        """Return the id of the run in this directory, or None; raises `RunDirectoryError` if `run.json` is damaged."""
        identity = self.read_identity()
        return None if identity is None else identity.run_id

    def write_identity(self, identity: RunIdentity) -> None:
        """Write `run.json`. Raises `OSError`."""
        write_atomically(self.identity, identity.to_json())

    def read_identity(self) -> RunIdentity | None:
        """Return what `run.json` holds, or None if there is none.

        Raises `RunDirectoryError` if it is damaged or cannot be read.
        """
        try:
            return RunIdentity.from_json(read_small_file(self.identity))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RunDirectoryError(
                f"{self.identity} cannot be read ({error.strerror}); mend that, or start with --fresh to archive this "
                "run."
            ) from None
        except (ValueError, RecursionError) as error:
            raise RunDirectoryError(
                f"{self.identity} is damaged ({plain_reason(error)}); restore it, or start with --fresh to archive "
                "this run."
            ) from None

    @property
    def archive_folder(self) -> Path:
        """The folder of everything that was moved aside."""
        return self.root / "archive"

    def holds_run(self) -> bool:
        """Return True if there are files that a new run must not overwrite; id and config alone do not count."""
        return any(path.name not in {"run.json", "config.json"} for path in self._run_entries())

    def _run_entries(self) -> list[Path]:
        if not self.root.is_dir():
            return []
        names = {*RUN_ENTRIES, *STORE_COMPANIONS}
        return [path for path in self.root.iterdir() if path.name in names or saved_step(path.name) is not None]

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

    def archive_of_resume(self, name: str) -> Path:
        """Return the path of a new archive folder for the records of steps that a resume repeats."""
        return self._free_name(name)

    def other_trainers_folder(self, run_id: str, entry: str) -> Path:
        """Return the path of an archive folder, without this entry, for what a trainer writes that works here too."""
        return self._free_name(f"{run_id}-other-trainer", entry)

    def previews_of(self, record: str) -> Path:
        """Return the folder of the previews of a record, given the name of its file."""
        return self.previews / f"step_{saved_step(record)}"

    def holds_archive(self, name: str) -> bool:
        """Return True if there is an archive folder of this name."""
        return (self.archive_folder / name).exists()

    def archive_records_after(self, step: int, target: Path) -> list[Path]:
        """Move records and previews after `step` to the archive folder `target`, because the run repeats later steps.

        Returns the old paths of the moved records.
        """
        records = [path for saved_step, path in list_records(self.root) if saved_step > step]
        previews = [path for path in _entries(self.previews) if _preview_step(path.name) > step]
        if records or previews:
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

    def _free_name(self, name: str, entry: str = "") -> Path:
        """Return a folder in `archive/` that does not exist, or with `entry`, that has no such entry."""
        parent = self.archive_folder
        names = numbered_names(name)
        return next(parent / candidate for candidate in names if not (parent / candidate / entry).exists())


def numbered_names(name: str) -> Iterator[str]:
    """Yield `name`, then `name-2`, `name-3` and so on, to find one that is not taken."""
    yield name
    yield from (f"{name}-{number}" for number in count(2))


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _preview_step(name: str) -> int:
    """Return the step in a preview folder's name, or -1."""
    digits = name.removeprefix("step_")
    return int(digits) if name.startswith("step_") and digits.isascii() and digits.isdigit() else -1


def write_config(directory: RunDirectory, loaded: LoadedConfig, identity: RunIdentity) -> dict[str, Any]:
    """Write the effective settings and the run's identity to `config.json`; returns the settings as plain values."""
    settings = plain_values(loaded.config)
    content = {"settings": settings, "origins": dict(loaded.origins), IDENTITY_IN_CONFIG: asdict(identity)}
    write_atomically(directory.config, json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n")
    return settings


def require_writable(root: Path) -> None:
    """Create the run directory if it is missing; raises `RunDirectoryError` if it cannot be written."""
    probe = root / f".tmp-probe.{os.getpid()}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except (FileExistsError, NotADirectoryError):
        in_place = next(path for path in (root, *root.parents) if path.exists())
        raise RunDirectoryError(
            f"DATA_ROOT {root} cannot be made: {in_place} is a file; choose another folder, or move the file away."
        ) from None
    except OSError as error:
        raise RunDirectoryError(
            f"DATA_ROOT {root} cannot be written ({error.strerror}); choose another or mend its permissions."
        ) from None


def unwritable(directory: RunDirectory, error: OSError) -> RunDirectoryError:
    """Return the error for a run directory in which writing failed; it names the file, if the system has."""
    path = error.filename2 or error.filename  # the second is the target of a renaming
    what = f"DATA_ROOT {directory.root}" if path is None else printable(os.fsdecode(path))
    return RunDirectoryError(f"{what} cannot be written ({reason_and_remedy(error)}).")
