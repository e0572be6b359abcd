"""Export of all saved records as CSV or JSON lines; records are read and sent one by one, to bound memory."""

import csv
import io
import json
import math
import threading
import weakref
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Any

from flask import Response, request

from api.artifacts.records.source import RecordPosition, RecordSource
from api.http.problems import ProblemError, unreadable_run_directory
from service.run.record import KEYS, Record, finite
from service.store.store import StoreUnavailableError

EXPORTS = {"csv": "text/csv", "jsonl": "application/jsonl"}
"""Export formats and their media types."""
MAX_EXPORTS = 4
"""Limit for concurrent exports: each occupies a thread for as long as its client reads."""
CHUNK_CHARACTERS = 64 * 1024
FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r", "\n")

_export_slots = threading.BoundedSemaphore(MAX_EXPORTS)


def export(
    source: RecordSource, export_format: str, after: RecordPosition | None, limit: int | None, *, newest_first: bool
) -> Response:
    """Build the response that exports all records after a position, or `limit` of them, in a format of EXPORTS.

    Files that are no records are skipped; the list names them. Raises `ProblemError` (storage-unavailable,
    too-many-requests) or `StoreUnavailableError` before the first byte; a later error aborts the response.
    """
    response = Response(mimetype=EXPORTS[export_format])
    response.headers["Content-Disposition"] = f"attachment; filename=Statistik.{export_format}"
    response.vary.add("Accept")
    if request.method == "HEAD":  # the body of a HEAD would never be closed, and its length is not 0
        response.response = iter(())
    else:
        response.response = _ExportBody(lambda: _lines(source, export_format, after, limit, newest_first=newest_first))
    return response


class _ExportBody:
    """Response body; holds one of the export slots until it is sent, closed by the server or garbage-collected."""

    def __init__(self, open_lines: Callable[[], Iterator[str]]) -> None:
        if not _export_slots.acquire(blocking=False):
            raise ProblemError(
                "too-many-requests",
                f"{MAX_EXPORTS} tables of records are being sent already; try again later.",
                {"Retry-After": "10"},
            )
        self._release_slot = weakref.finalize(self, _export_slots.release)
        try:
            self._lines = open_lines()
        except OSError as error:
            self._release_slot()
            raise unreadable_run_directory(error) from None
        except StoreUnavailableError:
            self._release_slot()
            raise

    def __iter__(self) -> Iterator[bytes]:
        yield from _chunks(self._lines)
        self._release_slot()

    def close(self) -> None:
        """Release the slot; the WSGI server calls this at the end and when the client disconnects."""
        self._release_slot()


def _lines(
    source: RecordSource, export_format: str, after: RecordPosition | None, limit: int | None, *, newest_first: bool
) -> Iterator[str]:
    records = islice(source.records(after, newest_first=newest_first), limit)
    return _csv_lines(records) if export_format == "csv" else _json_lines(records)


def _chunks(lines: Iterator[str]) -> Iterator[bytes]:
    """Join lines into chunks of about CHUNK_CHARACTERS, so that few packets are sent."""
    pending: list[str] = []
    size = 0
    for line in lines:
        pending.append(line)
        size += len(line)
        if size >= CHUNK_CHARACTERS:
            yield _encode(pending)
            pending, size = [], 0
    yield _encode(pending)


def _encode(lines: list[str]) -> bytes:
    """Encode as UTF-8; a lone surrogate, which only a foreign file can contain, is written as an escape."""
    return "".join(lines).encode("utf-8", "backslashreplace")


def _json_lines(records: Iterator[Record]) -> Iterator[str]:
    """Yield each record unchanged, on one line."""
    return (f"{_compact(record)}\n" for record in records)


def _csv_lines(records: Iterator[Record]) -> Iterator[str]:
    """Yield CSV (RFC 4180): a header of the record's keys in order, nested values as JSON, null as an empty cell."""
    rows = chain([KEYS], ([_cell(record.get(key)) for key in KEYS] for record in records))
    for row in rows:
        line = io.StringIO()
        csv.writer(line).writerow(row)
        yield line.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        # No text that we write begins like this; text of a foreign file must not become a spreadsheet formula.
        return f"'{value}" if value.startswith(FORMULA_PREFIXES) else value
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else ""
    return _compact(value)


def _compact(value: Any) -> str:
    try:
        return _ENCODER.encode(value)
    except ValueError:  # JSON allows 1e999, which Python reads as infinity
        return _ENCODER.encode(finite(value))


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
