"""The hidden folder beside the output in which it is made. It stays after an interruption, and the next start goes on.

.tmp-upscale-<name of the output>/   job.json: what is made of what   .lock: who works here   the finished parts
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.atomic_files import TEMPORARY_PREFIX, read_small_file, write_atomically
from service.errors import UserError
from service.run.lock import take_lock

JOB_FILE, LOCK_FILE = "job.json", ".lock"


@dataclass(frozen=True)
class JobFolder:
    """The folder of one output; `was_begun`: it holds parts of an earlier start with the same input and settings."""

    path: Path
    was_begun: bool


def job_path(target: Path) -> Path:
    """Return the path of the folder in which an output is made."""
    return target.parent / f"{TEMPORARY_PREFIX}upscale-{target.name}"


@contextmanager
def job_folder(target: Path, identity: Mapping[str, Any]) -> Iterator[JobFolder]:
    """Yield the folder to make `target` in, emptied if it is of another input or other settings.

    It is removed at the end of the block, and kept if an error ends that. Raises `OSError`, and `UserError` if another
    process works there.
    """
    path = job_path(target)
    path.mkdir(exist_ok=True)
    lock = take_lock(path / LOCK_FILE, 0.0)
    if lock is None:
        raise UserError(f"another process is making {target}: wait for it, or name another output")
    try:
        description = json.loads(json.dumps(identity))
        was_begun = _description_in(path) == description
        if not was_begun:
            _empty(path)
            write_atomically(path / JOB_FILE, json.dumps(description, indent=2).encode())
        yield JobFolder(path, was_begun)
        shutil.rmtree(path, ignore_errors=True)
    finally:
        lock.close()


def _description_in(path: Path) -> Any:
    with suppress(OSError, ValueError, RecursionError):
        return json.loads(read_small_file(path / JOB_FILE))
    return None


def _empty(path: Path) -> None:
    for entry in path.iterdir():
        if entry.name == LOCK_FILE:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
