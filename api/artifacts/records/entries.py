"""List entries of records, cached for the most recently used files until a file changes."""

import json
import os
import reprlib
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from api.artifacts.lru_cache import LruCache
from api.artifacts.records.source import RecordFile
from api.artifacts.safe_read import UnsafeFileError, read_safely
from service.api_types import RecordEntry
from service.run.record import Record, record_step
from service.run.record_schema import FIELDS

MAX_RECORD_BYTES = 8 * 1024 * 1024
"""Upper limit for the size of a record, enough for 40,000 images; parsing other JSON takes up to 25 times its size."""
MAX_CACHED_ENTRIES = 4096
"""A few megabytes; more entries than the largest page."""
MAX_DEPTH = 16
"""Maximum nesting of objects and lists; a record has 3. Deeper JSON may be readable but not writable."""
TIMESTAMP_GRANULARITY_SECONDS = 2.0
"""A file may change again within this time without a new timestamp, so a newer file is not cached."""
HEADLINES = (
    "quality_ki_value", "quality_lr_value", "quality_improvement_value", "validation_loss_value", "psnr_ki_db",
)  # fmt: skip

TRIGGERS = next(field.choices for field in FIELDS if field.name == "trigger")

EntryOrReason = RecordEntry | str
"""List entry of a record, or the reason why there is none."""

_Stamp = tuple[int, ...]


class InvalidRecordError(ValueError):
    """A file or a store's copy is not a valid record; the text is the reason."""


class RecordEntryCache:
    """List entries of the files in one folder; thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cache: LruCache[str, tuple[_Stamp, EntryOrReason]] = LruCache(MAX_CACHED_ENTRIES)

    def of(self, name: str) -> EntryOrReason:
        """Return the entry of a file, or the reason why it is no record; raises `FileNotFoundError`."""
        # Called a thousand times per page: building a Path would double the cost.
        status = os.lstat(f"{self._folder}/{name}")
        stamp = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)
        cached = self._cache.get(name)
        if cached is not None and cached[0] == stamp:
            return cached[1]
        result = self._read(name)
        if time.time() - max(status.st_mtime, status.st_ctime) > TIMESTAMP_GRANULARITY_SECONDS:
            self._cache.put(name, (stamp, result))
        return result

    def _read(self, name: str) -> EntryOrReason:
        try:
            file = read_file(self._folder / name)
            return record_entry(file, parse_record(file))
        except FileNotFoundError:
            raise
        except OSError as error:
            return f"it cannot be read ({error.strerror})"
        except InvalidRecordError as error:
            return f"it is not a record ({error})"


def read_file(path: Path) -> RecordFile:
    """Read the file at `path`; raises `OSError`, or `InvalidRecordError` if it is not a regular file or too large."""
    try:
        file = read_safely(path, MAX_RECORD_BYTES)
    except UnsafeFileError as error:
        raise InvalidRecordError(str(error)) from None
    return RecordFile(path.name, file.content, file.sha256, file.modified_at)


def parse_record(file: RecordFile) -> Record:
    """Parse and validate a record; raises `InvalidRecordError`."""
    try:
        record = _DECODER.decode(file.content.decode())
    except (ValueError, RecursionError) as error:
        raise InvalidRecordError(str(error)) from None
    if not isinstance(record, dict):
        raise InvalidRecordError("it holds no JSON object")
    _require_max_depth(record)
    require_record(file.name, record)
    return record


def require_record(name: str, record: Mapping[str, Any]) -> None:
    """Raise `InvalidRecordError` unless the values are a record of the step in the name."""
    step = record.get("step_current")
    if type(step) is not int or step != record_step(name):
        raise InvalidRecordError(f"its step_current is {reprlib.repr(step)}")
    for headline in HEADLINES:
        _require_number(record, headline)
    if record.get("trigger") not in TRIGGERS:
        raise InvalidRecordError(f"its trigger is {reprlib.repr(record.get('trigger'))}")


def record_entry(file: RecordFile, record: Mapping[str, Any]) -> RecordEntry:
    """Return the list entry of a record."""
    return {
        "name": file.name,
        "step": record["step_current"],
        "size_bytes": len(file.content),
        "modified_at": file.modified_at,
        "sha256": file.sha256,
        "trigger": record["trigger"],
        "quality_ki_value": record["quality_ki_value"],
        "quality_lr_value": record["quality_lr_value"],
        "quality_improvement_value": record["quality_improvement_value"],
        "validation_loss_value": record["validation_loss_value"],
        "psnr_ki_db": record["psnr_ki_db"],
        "url": f"/statistics/{file.name}",
    }


def _require_number(record: Mapping[str, Any], key: str) -> None:
    if key not in record:
        raise InvalidRecordError(f"it lacks {key}")
    value = record[key]
    if value is None:
        return
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not abs(value) <= sys.float_info.max:
        raise InvalidRecordError(f"its {key} is {reprlib.repr(value)}")


def _require_max_depth(record: Record) -> None:
    level: list[Any] = [record]
    for _ in range(MAX_DEPTH):
        children = [container.values() if type(container) is dict else container for container in level]
        level = [item for row in children for item in row if type(item) in _CONTAINER_TYPES]
        if not level:
            return
    raise InvalidRecordError(f"it is nested deeper than {MAX_DEPTH} levels")


def _reject_constant(text: str) -> None:
    raise InvalidRecordError(f"it holds {text}, which JSON does not know")


_CONTAINER_TYPES = {dict, list}
_DECODER = json.JSONDecoder(parse_constant=_reject_constant)
