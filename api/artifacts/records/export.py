"""All saved records as one table: CSV, or JSON lines; read and sent record by record, so that memory stays flat."""

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
from api.http.problems import ProblemError, unreadable
from service.run.record import KEYS, Record, finite
from service.store.store import StoreUnavailableError

EXPORTS = {"csv": "text/csv", "jsonl": "application/jsonl"}
"""The formats and their media types."""
MOST_EXPORTS = 4
"""Tables that may be on their way at a time: each takes a thread, and one that is read slowly takes it for long."""
PIECE_CHARACTERS = 64 * 1024
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n")

_places = threading.BoundedSemaphore(MOST_EXPORTS)


def export(
    source: RecordSource, table: str, after: RecordPosition | None, limit: int | None, *, newest_first: bool
) -> Response:
    """All records after a position, or `limit` of them, as a `table` of EXPORTS.

    What is no record is left out: the list names it. Raises `ProblemError` (storage-unavailable, too-many-requests) or
    `StoreUnavailableError`, all before the first byte; what fails later breaks the answer off.
    """
    response = Response(mimetype=EXPORTS[table])
    response.headers["Content-Disposition"] = f"attachment; filename=Statistik.{table}"
    response.vary.add("Accept")
    if request.method == "HEAD":  # whose body nobody would close, and whose length is not 0
        response.response = iter(())
    else:
        response.response = _Pieces(lambda: _lines(source, table, after, limit, newest_first=newest_first))
    return response


class _Pieces:
    """The body: opened at once, and only so many at a time, until it is sent, closed by the server, or forgotten."""

    def __init__(self, open_lines: Callable[[], Iterator[str]]) -> None:
        if not _places.acquire(blocking=False):
            raise ProblemError(
                "too-many-requests",
                f"{MOST_EXPORTS} tables of records are being sent already; try again later.",
                {"Retry-After": "10"},
            )
        self._leave = weakref.finalize(self, _places.release)
        try:
            self._lines = open_lines()
        except OSError as error:
            self._leave()
            raise unreadable(error) from None
        except StoreUnavailableError:
            self._leave()
            raise

    def __iter__(self) -> Iterator[bytes]:
        yield from _gathered(self._lines)
        self._leave()

    def close(self) -> None:
        """Called by the server at the end, and when the client has hung up."""
        self._leave()


def _lines(
    source: RecordSource, table: str, after: RecordPosition | None, limit: int | None, *, newest_first: bool
) -> Iterator[str]:
    records = islice(source.records(after, newest_first=newest_first), limit)
    return _csv_lines(records) if table == "csv" else _json_lines(records)


def _gathered(lines: Iterator[str]) -> Iterator[bytes]:
    """Pieces of a size that is worth a packet."""
    waiting: list[str] = []
    size = 0
    for line in lines:
        waiting.append(line)
        size += len(line)
        if size >= PIECE_CHARACTERS:
            yield _encoded(waiting)
            waiting, size = [], 0
    yield _encoded(waiting)


def _encoded(lines: list[str]) -> bytes:
    """UTF-8; half of a surrogate pair, which only a foreign file can hold, stays the escape that it was."""
    return "".join(lines).encode("utf-8", "backslashreplace")


def _json_lines(records: Iterator[Record]) -> Iterator[str]:
    """Each record as it is, on one line."""
    return (f"{_compact(record)}\n" for record in records)


def _csv_lines(records: Iterator[Record]) -> Iterator[str]:
    """RFC 4180: a heading with the record's keys in their order, nested values as JSON, what is null empty."""
    rows = chain([KEYS], ([_cell(record.get(key)) for key in KEYS] for record in records))
    for row in rows:
        line = io.StringIO()
        csv.writer(line).writerow(row)
        yield line.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        # No text of ours begins so; one of a foreign file must not become a formula where the table is opened.
        return f"'{value}" if value.startswith(FORMULA_SIGNS) else value
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else ""
    return _compact(value)


def _compact(value: Any) -> str:
    try:
        return _ENCODER.encode(value)
    except ValueError:  # 1e999 is a number to JSON, and infinite here
        return _ENCODER.encode(finite(value))


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
