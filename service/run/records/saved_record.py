"""One saved record as programs use it: every key with a value of its type or None, and remarks on what was changed."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from service.run.record import KEYS, SCHEMA_VERSION, Record, finite
from service.run.record_schema import FIELDS, RecordField

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NOT_FINITE = frozenset({"nan", "inf", "infinity"})
_STRICT_JSON = json.JSONEncoder(allow_nan=False)
_BOOLEANS: Mapping[Any, bool] = {"true": True, "false": False, "True": True, "False": False, 0: False, 1: True}


_NUMBERS: frozenset[Any] = frozenset({int, float, type(None)})
_PYTHON_TYPES: Mapping[str, frozenset[Any]] = {
    "object": frozenset({dict, type(None)}), "array": frozenset({list, type(None)}),
    "string": frozenset({str, type(None)}), "boolean": frozenset({bool, type(None)}),
    "integer": frozenset({int, type(None)}), "number": _NUMBERS,
}  # fmt: skip
_TYPES = tuple((field.name, _PYTHON_TYPES[field.kind]) for field in FIELDS)
_MAPS = tuple(field.name for field in FIELDS if field.kind == "object")


MAX_COMBINATIONS = 1000
_exact_types: set[tuple[type, ...]] = set()
"""Combinations of types that were found to be those of the keys."""


class Origin(StrEnum):
    """Which program wrote a record: Leitstand, or the original system whose place it takes."""

    LEITSTAND = "leitstand"
    ORIGINAL = "original"


class RemarkKind(StrEnum):
    """What a remark says of a value.

    `converted`: written otherwise, its meaning is certain. `doubtful`: kept, but it does not mean the same as in other
    records. `dropped`: None, because no meaning is certain. `not-finite`: None, because it was NaN or infinite.
    """

    CONVERTED = "converted"
    DOUBTFUL = "doubtful"
    DROPPED = "dropped"
    NOT_FINITE = "not-finite"


@dataclass(frozen=True)
class Remark:
    """What is special about the value of one key, as a sentence without its subject."""

    key: str
    kind: RemarkKind
    text: str


@dataclass(frozen=True)
class SavedRecord:
    """One record. `run` is its run id, or the folder's name if the file has none.

    `branch` is the archive folder that holds it, empty for the present branch; `step` is that of the validation.
    `values` has all keys of docs/records.md in their order, of their types, or None where the file has no such value;
    keys of later versions follow. `raw` is the object as the file holds it.
    """

    path: Path
    run: str
    branch: str
    step: int
    origin: Origin
    values: Record
    raw: Record
    remarks: tuple[Remark, ...]


def typed_values(raw: Mapping[str, Any], expected: Iterable[str]) -> tuple[Record, list[Remark]]:
    """Return the values of all keys, converted to their types, and remarks: what was not of them, what is missing."""
    remarks: list[Remark] = []
    values = {field.name: _typed(field, raw[field.name], remarks) if field.name in raw else None for field in FIELDS}
    remarks += [Remark(key, RemarkKind.DROPPED, "is missing") for key in expected if key not in raw]
    for key in raw.keys() - values.keys():
        values[key] = finite(raw[key])
    return values, remarks


def is_exact(raw: Mapping[str, Any]) -> bool:
    """Return True if strict JSON holds exactly the present version's keys in their order, each of its type.

    Then the values need no conversion, which is so for nearly all records, and asked in a tenth of the time.
    """
    if raw.get("schema_version") != SCHEMA_VERSION or tuple(raw) != KEYS:
        return False
    types = tuple(map(type, raw.values()))
    if types not in _exact_types:  # few combinations of numbers and nulls make up nearly all records
        if any(found not in allowed for found, (_, allowed) in zip(types, _TYPES, strict=True)):
            return False
        if len(_exact_types) < MAX_COMBINATIONS:
            _exact_types.add(types)
    return all(_NUMBERS.issuperset(map(type, (raw[key] or {}).values())) for key in _MAPS)


def expected_keys(raw: Mapping[str, Any]) -> Sequence[str]:
    """Return the keys that a record of Leitstand must have: versions only add keys at the end."""
    if raw.get("schema_version") == SCHEMA_VERSION:
        return KEYS
    return KEYS[: max((index for index, key in enumerate(KEYS) if key in raw), default=-1) + 1]


def _typed(field: RecordField, value: Any, remarks: list[Remark]) -> Any:
    """Return a value of the field's type or None, and add a remark if it was of another."""
    if value is None:
        return None
    match field.kind:
        case "object" if isinstance(value, dict):
            return {name: _number(f"{field.name}.{name}", item, remarks) for name, item in value.items()}
        case "array" if isinstance(value, list):
            return _finite_parts(field.name, value, remarks)
        case "string" if isinstance(value, str):
            return value
        case "boolean":
            return _boolean(field.name, value, remarks)
        case "number":
            return _number(field.name, value, remarks)
        case "integer":
            return _integer(field.name, value, remarks)
    _drop(field.name, value, remarks)
    return None


def _number(key: str, value: Any, remarks: list[Remark]) -> int | float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if _is_finite(value):
            return value
        remarks.append(Remark(key, RemarkKind.NOT_FINITE, f"was {_shown(value)}"))
        return None
    if isinstance(value, str):
        text = value.strip()
        if _NUMBER.fullmatch(text) and math.isfinite(float(text)):
            remarks.append(Remark(key, RemarkKind.CONVERTED, f"was the text {value!r}"))
            return float(text)
        if text.lstrip("+-").lower() in _NOT_FINITE:
            remarks.append(Remark(key, RemarkKind.NOT_FINITE, f"was the text {value!r}"))
            return None
    if value is not None:
        _drop(key, value, remarks)
    return None


def _integer(key: str, value: Any, remarks: list[Remark]) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    is_text = isinstance(value, str) and _INTEGER.fullmatch(value.strip())
    if is_text or (isinstance(value, float) and value.is_integer()):
        remarks.append(Remark(key, RemarkKind.CONVERTED, f"was {value!r}"))
        return int(value)
    if isinstance(value, float) and not math.isfinite(value):
        remarks.append(Remark(key, RemarkKind.NOT_FINITE, f"was {value}"))
        return None
    _drop(key, value, remarks)
    return None


def _boolean(key: str, value: Any, remarks: list[Remark]) -> bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, str | int) and value in _BOOLEANS:
        remarks.append(Remark(key, RemarkKind.CONVERTED, f"was {value!r}"))
        return _BOOLEANS[value]
    _drop(key, value, remarks)
    return None


def _finite_parts(key: str, value: list[Any], remarks: list[Remark]) -> list[Any]:
    try:
        _STRICT_JSON.encode(value)  # a tenth of the time that a walk over all parts in Python takes
    except ValueError:
        remarks.append(Remark(key, RemarkKind.NOT_FINITE, "held numbers that are not finite"))
        parts: list[Any] = finite(value)
        return parts
    return value


def _is_finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number of more than 308 digits
        return False


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _drop(key: str, value: Any, remarks: list[Remark]) -> None:
    remarks.append(Remark(key, RemarkKind.DROPPED, f"was {_shown(value)}, which is of the wrong kind"))
