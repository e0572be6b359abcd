"""Summaries of records as lines of JSON, which the cache keeps."""

from pathlib import Path
from typing import Any

import orjson

from service.run.records.saved_record import Origin, Remark, RemarkKind
from service.run.records.summary import RecordSummary


def encode(summary: RecordSummary, folder: Path) -> tuple[bytes, bool]:
    """Return a summary as a line of JSON, its path relative to `folder`, and True; nothing if JSON cannot hold it."""
    remarks = [(remark.key, remark.kind, remark.text) for remark in summary.remarks]
    parts = (
        str(summary.path.relative_to(folder)), summary.run, summary.branch, summary.step, summary.origin,
        summary.values, summary.activity, summary.slowness, summary.not_finite, remarks,
    )  # fmt: skip
    try:
        return orjson.dumps(parts) + b"\n", True
    except orjson.JSONEncodeError:
        return b"", False


def decode(line: bytes, folder: Path) -> RecordSummary:
    """Return the summary in a line; raises `ValueError` if it holds none."""
    try:
        path, run, branch, step, origin, values, activity, slowness, not_finite, remarks = orjson.loads(line)
        return RecordSummary(
            folder / path, run, branch, step, Origin(origin), values, activity, slowness, tuple(not_finite),
            tuple(_remark(*remark) for remark in remarks),
        )  # fmt: skip
    except TypeError as error:
        raise ValueError(str(error)) from None


def _remark(key: Any, kind: Any, text: Any) -> Remark:
    return Remark(str(key), RemarkKind(kind), str(text))
