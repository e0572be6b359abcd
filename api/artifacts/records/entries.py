"""List entries of records, cached for the most recently used files until a file changes."""

import hashlib
import json
import os
import reprlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from api.artifacts.file_cache import FileCache
from api.artifacts.records.source import RecordFile
from api.artifacts.safe_read import UnsafeFileError, read_content
from service.api_types import RecordEntry
from service.errors import plain_reason
from service.run.record import PACKED, Record, record_step
from service.run.record_schema import FIELDS
from service.run.records.keeping.packing import unpacked

MAX_RECORD_BYTES = 8 * 1024 * 1024
"""Upper limit for the size of a record, enough for 40,000 images; parsing other JSON takes up to 25 times its size."""
MAX_CACHED_ENTRIES = 4096
"""A few megabytes; more entries than the largest page."""
MAX_DEPTH = 16
"""Maximum nesting of objects and lists; a record has 3. Deeper JSON may be readable but not writable."""
HEADLINES = (
    "quality_ki_value", "quality_lr_value", "quality_improvement_value", "validation_loss_value", "psnr_ki_db",
)  # fmt: skip

TRIGGERS = next(field.choices for field in FIELDS if field.name == "trigger")

EntryOrReason = RecordEntry | str
"""List entry of a record, or the reason why there is none."""


class InvalidRecordError(ValueError):
    """A file or a store's copy is not a valid record; the text is the reason."""


class RecordEntryCache:
    """List entries of the record files in one folder; thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._entries: FileCache[EntryOrReason] = FileCache(folder, MAX_CACHED_ENTRIES)

    def of(self, name: str) -> EntryOrReason:
        """Return the entry of a record, packed or not, or the reason why it is none; raises `FileNotFoundError`."""
        try:
            return self._entries.of(name, self._read)
        except FileNotFoundError:
            return self._entries.of(f"{name}{PACKED}", self._read)

    def _read(self, name: str) -> EntryOrReason:
        try:
            file = read_file(self._folder / name.removesuffix(PACKED))
            return record_entry(file, parse_record(file))
        except FileNotFoundError:
            raise
        except OSError as error:
            return f"it cannot be read ({error.strerror})"
        except InvalidRecordError as error:
            return f"it is not a record ({error})"


def read_file(path: Path) -> RecordFile:
    """Read the record at `path`, or its packed file, unpacked.

    Raises `OSError`, or `InvalidRecordError` if it is not a regular file, too large or damaged.
    """
    try:
        content, status = read_record_content(str(path))
    except UnsafeFileError as error:
        raise InvalidRecordError(str(error)) from None
    return RecordFile(path.name, content, hashlib.sha256(content).hexdigest(), status.st_mtime)


def read_record_content(path: str) -> tuple[bytes, os.stat_result]:
    """Read the record at `path`, or its packed file; returns the unpacked content, and the status of the file.

    Raises `OSError`, or `UnsafeFileError` if it is not a regular file, too large or damaged.
    """
    try:
        return read_content(path, MAX_RECORD_BYTES)
    except FileNotFoundError:
        packed, status = read_content(f"{path}{PACKED}", MAX_RECORD_BYTES)
    try:
        content = unpacked(packed, MAX_RECORD_BYTES)
    except ValueError as error:
        raise UnsafeFileError(str(error)) from None
    if len(content) > MAX_RECORD_BYTES:
        raise UnsafeFileError(f"it has more than {MAX_RECORD_BYTES} bytes")
    return content, status


def parse_record(file: RecordFile) -> Record:
    """Parse and validate a record; raises `InvalidRecordError`."""
    return decode_record(record_step(file.name), file.content)


def decode_record(step: int | None, content: bytes) -> Record:
    """Parse the record of a step; raises `InvalidRecordError`."""
    try:
        record = _decode(content)
    except (ValueError, RecursionError) as error:
        raise InvalidRecordError(plain_reason(error)) from None
    if not isinstance(record, dict):
        raise InvalidRecordError("it holds no JSON object")
    require_record(step, record)
    return record


def _decode(content: bytes) -> Any:
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:  # Python's slower decoder says what is wrong, and reads some JSON that this does not
        value = _DECODER.decode(content.decode())
    if isinstance(value, dict):
        _require_max_depth(value)
    return value


def require_record(step: int | None, record: Mapping[str, Any]) -> None:
    """Raise `InvalidRecordError` unless the values are a record of the step that its name says."""
    found = record.get("step_current")
    if type(found) is not int or found != step:
        raise InvalidRecordError(f"its step_current is {reprlib.repr(found)}")
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
    value = record.get(key, _ABSENT)
    if value is None or (type(value) is float and abs(value) <= sys.float_info.max):
        return
    if value is _ABSENT:
        raise InvalidRecordError(f"it lacks {key}")
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


_ABSENT = object()
_CONTAINER_TYPES = {dict, list}
_DECODER = json.JSONDecoder(parse_constant=_reject_constant)
