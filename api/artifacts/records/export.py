"""Export of all saved records as CSV or JSON lines; records are read and sent one by one, to bound memory."""

import threading
import weakref
from collections.abc import Callable, Iterator
from itertools import islice

from flask import Response, request

from api.artifacts.records.source import RecordPosition, RecordSource
from api.http.problems import ProblemError, unreadable_run_directory
from service.run.record import KEYS, Record
from service.run.records.tables.lines import csv_cell, csv_line, json_text
from service.store.store import StoreUnavailableError

EXPORTS = {"csv": "text/csv", "jsonl": "application/jsonl"}
"""Export formats and their media types."""
MAX_EXPORTS = 4
"""Limit for concurrent exports: each occupies a thread for as long as its client reads."""
CHUNK_CHARACTERS = 64 * 1024

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
                {
                    "Retry-After": "10",
                    "RateLimit-Policy": f'"downloads";q={MAX_EXPORTS};qu="concurrent-requests"',
                    "RateLimit": '"downloads";r=0;t=10',
                },
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
    return (f"{json_text(record)}\n" for record in records)


def _csv_lines(records: Iterator[Record]) -> Iterator[str]:
    """Yield CSV (RFC 4180): a header of the record's keys in order, nested values as JSON, null as an empty cell."""
    yield csv_line(KEYS)
    for record in records:
        yield csv_line(map(csv_cell, map(record.get, KEYS)))
