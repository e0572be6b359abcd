"""What the list shows of a record, and of the latest thousands of files asked for, kept until a file changes."""

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

MOST_BYTES = 8 * 1024 * 1024
"""No record is larger, 40,000 images have room in it; of other JSON it takes up to 25 times as much memory to read."""
MOST_KEPT = 4096
"""Some megabytes; more than the largest page."""
MOST_LEVELS = 16
"""Objects and lists within each other; a record has 3, and what can be read deep down cannot always be written."""
GRAIN_SECONDS = 2.0
"""A file may change again within this time without a trace in its times; until then nothing of it is kept."""
HEADLINES = (
    "quality_ki_value", "quality_lr_value", "quality_improvement_value", "validation_loss_value", "psnr_ki_db",
)  # fmt: skip

TRIGGERS = next(field.choices for field in FIELDS if field.name == "trigger")

EntryOrReason = RecordEntry | str
"""The list's entry, or why there is none."""

_Stamp = tuple[int, ...]


class NoRecordError(ValueError):
    """What lies there is no record; the text says why."""


class RecordEntryCache:
    """Entries of the files in one folder; safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: LruCache[str, tuple[_Stamp, EntryOrReason]] = LruCache(MOST_KEPT)

    def of(self, name: str) -> EntryOrReason:
        """The entry of a file, or why it is no record; raises `FileNotFoundError` when it is gone."""
        status = os.lstat(f"{self._folder}/{name}")  # a thousand times a page: a Path costs as much again
        stamp = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)
        kept = self._kept.get(name)
        if kept is not None and kept[0] == stamp:
            return kept[1]
        outcome = self._read(name)
        if time.time() - max(status.st_mtime, status.st_ctime) > GRAIN_SECONDS:
            self._kept.put(name, (stamp, outcome))
        return outcome

    def _read(self, name: str) -> EntryOrReason:
        try:
            file = read_file(self._folder / name)
            return record_entry(file, parsed(file))
        except FileNotFoundError:
            raise
        except OSError as error:
            return f"it cannot be read ({error.strerror})"
        except NoRecordError as error:
            return f"it is not a record ({error})"


def read_file(path: Path) -> RecordFile:
    """The bytes at `path`; raises `OSError`, and `NoRecordError` when it is no ordinary file."""
    try:
        file = read_safely(path, MOST_BYTES)
    except UnsafeFileError as error:
        raise NoRecordError(str(error)) from None
    return RecordFile(path.name, file.content, file.sha256, file.modified_at)


def parsed(file: RecordFile) -> Record:
    """The values of a record; raises `NoRecordError`."""
    try:
        record = _DECODER.decode(file.content.decode())
    except (ValueError, RecursionError) as error:
        raise NoRecordError(str(error)) from None
    if not isinstance(record, dict):
        raise NoRecordError("it holds no JSON object")
    _require_few_levels(record)
    require_record(file.name, record)
    return record


def require_record(name: str, record: Mapping[str, Any]) -> None:
    """Raise `NoRecordError` unless these values are a record of the step in the name."""
    step = record.get("step_current")
    if type(step) is not int or step != record_step(name):
        raise NoRecordError(f"its step_current is {reprlib.repr(step)}")
    for headline in HEADLINES:
        _require_number(record, headline)
    if record.get("trigger") not in TRIGGERS:
        raise NoRecordError(f"its trigger is {reprlib.repr(record.get('trigger'))}")


def record_entry(file: RecordFile, record: Mapping[str, Any]) -> RecordEntry:
    """The list's entry for a record."""
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
        raise NoRecordError(f"it lacks {key}")
    value = record[key]
    if value is None:
        return
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not abs(value) <= sys.float_info.max:
        raise NoRecordError(f"its {key} is {reprlib.repr(value)}")


def _require_few_levels(record: Record) -> None:
    level: list[Any] = [record]
    for _ in range(MOST_LEVELS):
        rows = [box.values() if type(box) is dict else box for box in level]
        level = [item for row in rows for item in row if type(item) in _NESTING]
        if not level:
            return
    raise NoRecordError(f"it is nested deeper than {MOST_LEVELS} levels")


def _refuse_constant(text: str) -> None:
    raise NoRecordError(f"it holds {text}, which JSON does not know")


_NESTING = {dict, list}
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
