"""The saved records as files: listing, headlines, bytes. The files are the truth; no trainer or store is needed.

A file is opened only by a name that is a record's, never through a symbolic link, and read whole: its bytes and its
sha256 always belong together, whatever is renamed meanwhile. Never writes.
"""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.answers import RecordEntry, RecordList
from service.record import list_records, record_step

_Stamp = tuple[int, int, int]
_OPENING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class RecordFile:
    """One record as it lies on disk. `modified_at` is Unix seconds."""

    name: str
    content: bytes
    sha256: str
    modified_at: float


class RecordFiles:
    """The records of one run directory. What was read of a file is kept until inode, time or size change."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Replaced as a whole, never changed: readers in other threads need no lock.
        self._known: Mapping[str, tuple[_Stamp, RecordEntry | str]] = {}

    def count(self) -> int:
        """How many records are saved. Raises `OSError` when the folder cannot be read."""
        return len(self._paths())

    def listing(self) -> RecordList:
        """All records by step as a number, and what could not be read. Raises `OSError` as `count` does."""
        known: dict[str, tuple[_Stamp, RecordEntry | str]] = {}
        for path in self._paths():
            try:
                known[path.name] = self._entry(path)
            except FileNotFoundError:  # archived since the folder was listed
                continue
        self._known = known
        entries = [(name, entry) for name, (_, entry) in known.items()]
        records = [entry for _, entry in entries if not isinstance(entry, str)]
        unreadable = [{"name": name, "reason": entry} for name, entry in entries if isinstance(entry, str)]
        return {"records": records, "unreadable": unreadable, "count": len(records)}

    def find(self, name: str) -> RecordFile | None:
        """The record with this name, or `latest`; None when there is none. Raises `OSError` when it cannot be read."""
        if name == "latest":
            paths = self._paths()
            return _read(paths[-1]) if paths else None
        return None if record_step(name) is None else _read(self._folder / name)

    def _paths(self) -> list[Path]:
        try:
            found = list_records(self._folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [path for _, path in found if path.is_file() and not path.is_symlink()]

    def _entry(self, path: Path) -> tuple[_Stamp, RecordEntry | str]:
        status = path.lstat()
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        earlier = self._known.get(path.name)
        if earlier is not None and earlier[0] == stamp:
            return earlier
        try:
            return stamp, _headline(path)
        except FileNotFoundError:
            raise
        except OSError as error:
            return stamp, f"it cannot be read ({error.strerror})"
        except (ValueError, RecursionError) as error:
            return stamp, f"it is not a record ({error})"


def _read(path: Path) -> RecordFile | None:
    """The file at `path`, or None when nothing or no ordinary file lies there."""
    try:
        descriptor = os.open(path, _OPENING)
    except FileNotFoundError:
        return None
    except OSError:
        if path.is_symlink():
            return None
        raise
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        return None
    with os.fdopen(descriptor, "rb") as file:
        content = file.read()
    return RecordFile(path.name, content, hashlib.sha256(content).hexdigest(), status.st_mtime)


def _headline(path: Path) -> RecordEntry:
    """The list's entry for a record; raises `ValueError` saying why it is none, `FileNotFoundError` when it is gone."""
    file = _read(path)
    if file is None:
        raise FileNotFoundError(path)
    record = json.loads(file.content)
    if not isinstance(record, dict):
        raise ValueError("it holds no JSON object")  # noqa: TRY004 - one kind of error for all that makes no record
    step = record_step(file.name)
    if step is None or record.get("step_current") != step:
        raise ValueError(f"its step_current is {record.get('step_current')!r}")
    return {
        "name": file.name,
        "step": step,
        "size_bytes": len(file.content),
        "modified_at": file.modified_at,
        "sha256": file.sha256,
        "trigger": str(record.get("trigger")),
        "quality_ki_value": _number(record, "quality_ki_value"),
        "quality_lr_value": _number(record, "quality_lr_value"),
        "quality_improvement_value": _number(record, "quality_improvement_value"),
        "validation_loss_value": _number(record, "validation_loss_value"),
        "psnr_ki_db": _number(record, "psnr_ki_db"),
        "url": f"/statistics/{file.name}",
    }


def _number(record: Mapping[str, Any], key: str) -> float | None:
    if key not in record:
        raise ValueError(f"it lacks {key}")
    value = record[key]
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise ValueError(f"its {key} is {value!r}")
    return value
