"""Saved records as files of the run directory. The files are authoritative; neither trainer nor store is needed.

A file is opened only by a valid record name or a listed name, never through a symbolic link. It is read whole, so that
its bytes and its sha256 always match, even if it is replaced meanwhile. This module never writes.
"""

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from api.artifacts.directory_cache import DirectoryCache
from api.artifacts.records.columns import RecordColumns
from api.artifacts.records.entries import (
    InvalidRecordError,
    RecordEntryCache,
    decode_record,
    parse_record,
    read_file,
    read_record_content,
)
from api.artifacts.records.index import EMPTY_INDEX, IndexReader, RecordIndex
from api.artifacts.records.source import LATEST, EncodedValues, RecordFile, RecordPage, RecordPosition
from api.artifacts.safe_read import UnsafeFileError
from service.api_types import RecordEntry, UnreadableFile
from service.run.record import Record, record_step

WRONG_NAME = "it is not named Statistik_<step>.json"


class RecordFiles:
    """`RecordSource` for the files of one run directory; thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._index: DirectoryCache[RecordIndex] = DirectoryCache(folder, IndexReader(), EMPTY_INDEX)
        self._entry_cache = RecordEntryCache(folder)
        self._columns = RecordColumns(folder)

    def count(self) -> int:
        """Return the number of files named like records; raises `OSError` if the folder cannot be read."""
        return len(self._index.current().records)

    def page(self, after: RecordPosition | None, limit: int, *, newest_first: bool) -> RecordPage:
        """Return the next `limit` files after a position, valid records or not; raises `OSError`."""
        index = self._index.current()
        positions = list(islice(index.after(after, newest_first=newest_first), limit + 1))
        records: list[RecordEntry] = []
        unreadable: list[UnreadableFile] = []
        for position in positions[:limit]:
            result = self._entry_or_reason(position.name)
            if isinstance(result, str):
                unreadable.append({"name": _printable(position.name), "reason": result})
            elif result is not None:
                records.append(result)
        end = positions[limit - 1] if len(positions) > limit else None
        return RecordPage(records, unreadable, len(index.records), end)

    def find(self, name: str) -> RecordFile | None:
        """Return the file `name`, or for `latest` the record of the highest step; None if absent. Raises `OSError`."""
        if name == LATEST:
            return next((file for file, _ in self._read_records(self._positions(None, newest_first=True))), None)
        if record_step(name) is None:
            return None
        try:
            return read_file(self._folder / name)
        except (FileNotFoundError, NotADirectoryError, InvalidRecordError):
            return None

    def values(self, keys: tuple[str, ...]) -> Iterator[EncodedValues]:
        """Read some values of all records one by one, newest first, and skip invalid files; raises `OSError`."""
        return self._columns.of(reversed(self._index.current().steps), keys)

    def records(self, after: RecordPosition | None = None, *, newest_first: bool = False) -> Iterator[Record]:
        """Read the records after a position one by one and skip invalid files; raises `OSError` immediately."""
        return self._parsed(self._positions(after, newest_first=newest_first))

    def _parsed(self, positions: Iterable[RecordPosition]) -> Iterator[Record]:
        """Yield records without the sha256 of their files, which no table has."""
        for position in positions:
            try:
                content, _ = read_record_content(f"{self._folder}/{position.name}")
                yield decode_record(record_step(position.name), content)
            except (OSError, UnsafeFileError, InvalidRecordError):
                continue

    def _positions(self, after: RecordPosition | None, *, newest_first: bool) -> Iterator[RecordPosition]:
        return self._index.current().after(after, newest_first=newest_first)

    def _read_records(self, positions: Iterable[RecordPosition]) -> Iterator[tuple[RecordFile, Record]]:
        for position in positions:
            try:
                file = read_file(self._folder / position.name)
                record = parse_record(file)
            except (OSError, InvalidRecordError):
                continue
            yield file, record

    def _entry_or_reason(self, name: str) -> RecordEntry | str | None:
        """Return the list entry, or the reason why there is none; None if the file was archived since the listing."""
        if record_step(name) is None:
            return WRONG_NAME
        try:
            return self._entry_cache.of(name)
        except FileNotFoundError:
            return None


def _printable(name: str) -> str:
    """Return a file's name as text, with escapes for bytes that are not UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
