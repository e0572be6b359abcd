"""The record of one validation, `Statistik_<step>.json`: its keys, their order, its name, its bytes.

One flat object, the same keys in the same order in every file; strict JSON, in which a non-finite number is `null`.
The live snapshot that `/state` shows has the same keys. `service/run/record_schema.py` is the table itself.
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.run.record_schema import FIELDS

SCHEMA_VERSION = 2
KEYS: tuple[str, ...] = tuple(field.name for field in FIELDS)

Record = dict[str, Any]

_NAME = re.compile(r"Statistik_(0|[1-9][0-9]{0,17})\.json")


def build_record(*groups: Mapping[str, Any]) -> Record:
    """Join groups of values into one record in the fixed key order.

    Raises `ValueError` when a key is missing, unknown, or given twice: a record never holds a made-up default.
    """
    values: dict[str, Any] = {}
    for group in groups:
        twice = values.keys() & group.keys()
        if twice:
            raise ValueError(f"record keys given twice: {sorted(twice)}")
        values.update(group)
    if values.keys() != set(KEYS):
        missing, unknown = set(KEYS) - values.keys(), values.keys() - set(KEYS)
        raise ValueError(f"record keys missing: {sorted(missing)}, unknown: {sorted(unknown)}")
    return {key: finite(values[key]) for key in KEYS}


def finite(value: Any) -> Any:
    """`value` with every non-finite number, at any depth, replaced by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def encode_record(record: Record) -> bytes:
    """The bytes of the file: UTF-8, two-space indentation, strict JSON."""
    return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def record_name(step: int) -> str:
    """`Statistik_<step>.json`, the step unpadded."""
    return f"Statistik_{step}.json"


def record_step(name: str) -> int | None:
    """The step in a record's file name, or None when the name is not a record's."""
    match = _NAME.fullmatch(name)
    return int(match.group(1)) if match else None


def list_records(folder: Path) -> list[tuple[int, Path]]:
    """(step, path) of every record in a run directory, sorted by step as a number."""
    found = ((record_step(path.name), path) for path in folder.iterdir())
    return sorted((step, path) for step, path in found if step is not None)
