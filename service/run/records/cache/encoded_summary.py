"""Summaries of records as lines of JSON, which the cache keeps."""

import json
from pathlib import Path
from typing import Any

import orjson

from service.run.record import KEYS
from service.run.records.saved_record import Origin, Remark, RemarkKind
from service.run.records.summary import NESTED, RecordSummary

PYTHONS = b"!"
"""Begins a line of JSON that only Python's parser reads as it was written."""
_KEYS = tuple(key for key in KEYS if key not in NESTED)
"""What the values of a line are of; keys of later versions stand beside them, with their names."""


def encode(summary: RecordSummary, folder: Path) -> tuple[bytes, bool]:
    """Return a summary as a line of JSON, its path relative to `folder`, and True."""
    remarks = [(remark.key, remark.kind, remark.text) for remark in summary.remarks]
    others = {key: value for key, value in summary.values.items() if key not in _KNOWN} or None
    parts = (
        str(summary.path.relative_to(folder)), summary.run, summary.branch, summary.step, summary.origin,
        [summary.values[key] for key in _KEYS], others, list(summary.activity), list(summary.activity.values()),
        summary.slowness, (summary.not_finite, remarks),
    )  # fmt: skip
    try:
        return orjson.dumps(parts) + b"\n", True
    except orjson.JSONEncodeError:  # a whole number of more than 64 bits, half a character
        return PYTHONS + json.dumps(parts).encode() + b"\n", True


_KNOWN = frozenset(_KEYS)


def decode(line: bytes, folder: Path) -> RecordSummary:
    """Return the summary in a line; raises `ValueError` if it holds none."""
    try:
        is_pythons = line.startswith(PYTHONS)
        parts = json.loads(line.removeprefix(PYTHONS)) if is_pythons else orjson.loads(line)
        path, run, branch, step, origin, known, others, layers, means, slowness, rest = parts
        values = dict(zip(_KEYS, known, strict=True))
        not_finite, remarks = rest
        return RecordSummary(
            folder / path, run, branch, step, Origin(origin), values if others is None else values | others,
            dict(zip(layers, means, strict=True)), slowness, tuple(not_finite),
            tuple(_remark(*remark) for remark in remarks),
        )  # fmt: skip
    except TypeError as error:
        raise ValueError(str(error)) from None


def _remark(key: Any, kind: Any, text: Any) -> Remark:
    return Remark(str(key), RemarkKind(kind), str(text))
