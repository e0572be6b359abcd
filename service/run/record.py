"""The record of one validation, `Statistik_<step>.json`: its keys and their order, its file name, its encoding.

A record is one flat object with the same keys in the same order in every file. It is strict JSON, in which a non-finite
number is `null`. The live snapshot at `/state` has the same keys, which `service/run/record_schema.py` defines.
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.run.record_schema import FIELDS

SCHEMA_VERSION = 4
KEYS: tuple[str, ...] = tuple(field.name for field in FIELDS)

Record = dict[str, Any]
LogPoint = tuple[int, float, Mapping[str, Any]]
"""Step, Unix time (s) and values of a log point."""

_NAME = re.compile(r"Statistik_(0|[1-9][0-9]{0,17})\.json")

PACKED = ".gz"
"""What the name of a record's file ends with if it was packed with gzip to save room; its content is the same."""


def build_record(*groups: Mapping[str, Any]) -> Record:
    """Merge groups of values into one record in the fixed key order.

    Raises `ValueError` if a key is missing, unknown, or given twice: there are no default values.
    """
    values: dict[str, Any] = {}
    for group in groups:
        duplicates = values.keys() & group.keys()
        if duplicates:
            raise ValueError(f"record keys given twice: {sorted(duplicates)}")
        values.update(group)
    if values.keys() != set(KEYS):
        missing, unknown = set(KEYS) - values.keys(), values.keys() - set(KEYS)
        raise ValueError(f"record keys missing: {sorted(missing)}, unknown: {sorted(unknown)}")
    return {key: finite(values[key]) for key in KEYS}


UNKNOWN_DURATION = "--:--:--"
"""Text of a duration `HH:MM:SS` that is not known yet."""


def finite(value: Any) -> Any:
    """Return `value` with every non-finite number, at any depth, replaced by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def encode_record(record: Record) -> bytes:
    """Encode a record as the bytes of its file: UTF-8, two-space indentation, strict JSON."""
    return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def record_name(step: int) -> str:
    """Return `Statistik_<step>.json` with the step unpadded."""
    return f"Statistik_{step}.json"


def record_step(name: str) -> int | None:
    """Return the step in a record's file name, or None if the name is not that of a record."""
    match = _NAME.fullmatch(name)
    return int(match.group(1)) if match else None


def saved_step(name: str) -> int | None:
    """Return the step in the name of a record's file, packed or not, or None if it is not that of a record."""
    return record_step(name.removesuffix(PACKED))


def list_records(folder: Path) -> list[tuple[int, Path]]:
    """Return (step, path) of every record in a run directory, packed or not, sorted by step. Raises `OSError`."""
    entries = ((saved_step(path.name), path) for path in folder.iterdir())
    return sorted((step, path) for step, path in entries if step is not None)
