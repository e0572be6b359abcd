"""Some values of many records of one folder, as JSON, each kept until its file changes: what a comparison reads."""

import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic_core import PydanticSerializationError, SchemaValidator, ValidationError, core_schema, to_json

from api.artifacts.file_cache import Stamp, is_settled, stamp_of
from api.artifacts.lru_cache import LruCache
from api.artifacts.records.entries import (
    HEADLINES,
    InvalidRecordError,
    decode_record,
    read_record_content,
    require_record,
)
from api.artifacts.records.source import EncodedValues
from api.artifacts.safe_read import UnsafeFileError
from service.run.record import PACKED, finite, record_name

MAX_CACHED_KEYS = 2
"""Sets of keys for which values are kept."""
MAX_CACHED_RECORDS = 1024
"""Records per set of keys: as many as one may compare."""
MAX_CACHED_BYTES = 4096
"""Of one record's values; larger ones, such as those of all images, are read again each time."""

_NEEDED = ("step_current", "trigger", *HEADLINES)
"""What every record must hold."""

_Cached = dict[int, tuple[Stamp, EncodedValues]]


class RecordColumns:
    """Values of the record files in one folder; thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._cached: LruCache[tuple[str, ...], _Cached] = LruCache(MAX_CACHED_KEYS)

    def of(self, steps: Iterable[int], keys: tuple[str, ...]) -> Iterator[EncodedValues]:
        """Yield some values of the records of these steps; skips files that are no records, or gone.

        Raises `OSError` if the folder cannot be read.
        """
        cached = self._cached_of(keys)
        for step in steps:  # thousands per answer: a call or a Path more for each would show
            path = f"{self._folder}/{record_name(step)}"
            known = cached.get(step)
            try:
                is_known = known is not None and known[0] == stamp_of(_status(path))
                values = known[1] if known is not None and is_known else self._read(step, path, keys, cached)
            except FileNotFoundError:  # archived since the listing
                continue
            if values is not None:
                yield values

    def _cached_of(self, keys: tuple[str, ...]) -> _Cached:
        with self._lock:
            cached = self._cached.get(keys)
            if cached is None:
                self._cached.put(keys, cached := {})
        return cached

    def _read(self, step: int, path: str, keys: tuple[str, ...], cached: _Cached) -> EncodedValues | None:
        """Return values of one file, None if it is no record; raises `FileNotFoundError`, or `OSError` for a folder."""
        try:
            content, status = read_record_content(path)
            values = encoded_values(_decode(step, content, keys), keys)
        except OSError:
            _status(path)
            return None
        except (UnsafeFileError, InvalidRecordError):
            return None
        if is_settled(status) and len(values) <= MAX_CACHED_BYTES:
            self._keep(cached, step, (stamp_of(status), values))
        return values

    def _keep(self, cached: _Cached, step: int, found: tuple[Stamp, EncodedValues]) -> None:
        with self._lock:
            if len(cached) >= MAX_CACHED_RECORDS:
                del cached[next(iter(cached))]
            cached[step] = found


def _status(path: str) -> os.stat_result:
    """Return the status of a record's file, packed or not; raises `OSError`."""
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return os.lstat(f"{path}{PACKED}")


def encoded_values(record: Mapping[str, Any], keys: tuple[str, ...]) -> EncodedValues:
    """Return the step and some values of a record as JSON; null for a key that it lacks, and for no finite number."""
    values = {key: record.get(key) for key in keys}
    try:
        encoded = to_json(values, inf_nan_mode="null")
    except PydanticSerializationError:  # half a character, or deeper than it likes: both are no error for Python
        encoded = json.dumps(finite(values)).encode()
    return b'"step":%d,"values":%b' % (record["step_current"], encoded)


def _decode(step: int, content: bytes, keys: tuple[str, ...]) -> Mapping[str, Any]:
    """Parse a record, but make objects only of some values; raises `InvalidRecordError`."""
    if not _names_no_number(content):
        try:
            record: Mapping[str, Any] = _validator(keys).validate_json(content)
        except ValidationError:
            pass
        else:
            require_record(step, record)
            return record
    return decode_record(step, content)


def _names_no_number(content: bytes) -> bool:
    """Whether NaN or Infinity may be in a file, which the validator takes for numbers."""
    # One letter is found ten times as fast as a word.
    return (b"N" in content and b"NaN" in content) or (b"I" in content and b"Infinity" in content)


@lru_cache(maxsize=32)
def _validator(keys: tuple[str, ...]) -> SchemaValidator:
    """Return a parser of whole records that makes no objects of the values that nobody asks for."""
    field = core_schema.typed_dict_field(core_schema.any_schema(), required=False)
    fields = dict.fromkeys((*_NEEDED, *keys), field)
    return SchemaValidator(core_schema.typed_dict_schema(fields, extra_behavior="ignore"))
