"""The saved records as files. The files are the truth; no trainer or store is needed.

A file is opened only by a name that is a record's or was listed, never through a symbolic link, and read whole: its
bytes and its sha256 always belong together, whatever is renamed meanwhile. Never writes.
"""

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from api.artifacts.directory_cache import DirectoryCache
from api.artifacts.records.entries import NoRecordError, RecordEntryCache, parsed, read_file
from api.artifacts.records.index import NOTHING, IndexReader, RecordIndex
from api.artifacts.records.source import LATEST, RecordFile, RecordPage, RecordPosition
from service.api_types import RecordEntry, UnreadableFile
from service.run.record import Record, record_step

FOREIGN = "it is not named Statistik_<step>.json"


class RecordFiles:
    """The records of one run directory; safe to use from several threads. A `RecordSource`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._index: DirectoryCache[RecordIndex] = DirectoryCache(folder, IndexReader(), NOTHING)
        self._headlines = RecordEntryCache(folder)

    def count(self) -> int:
        """How many files are named as records. Raises `OSError` when the folder cannot be read."""
        return len(self._index.current().records)

    def page(self, after: RecordPosition | None, limit: int, *, newest_first: bool) -> RecordPage:
        """The next `limit` files after a position, records or not. Raises `OSError`."""
        index = self._index.current()
        found = list(islice(index.after(after, newest_first=newest_first), limit + 1))
        records: list[RecordEntry] = []
        unreadable: list[UnreadableFile] = []
        for position in found[:limit]:
            outcome = self._outcome(position.name)
            if isinstance(outcome, str):
                unreadable.append({"name": _shown(position.name), "reason": outcome})
            elif outcome is not None:
                records.append(outcome)
        end = found[limit - 1] if len(found) > limit else None
        return RecordPage(records, unreadable, len(index.records), end)

    def find(self, name: str) -> RecordFile | None:
        """The file of this name, or the newest record under `latest`; None when there is none. Raises `OSError`."""
        if name == LATEST:
            return next((file for file, _ in self._read(self._positions(None, newest_first=True))), None)
        if record_step(name) is None:
            return None
        try:
            return read_file(self._folder / name)
        except (FileNotFoundError, NotADirectoryError, NoRecordError):
            return None

    def records(self, after: RecordPosition | None = None, *, newest_first: bool = False) -> Iterator[Record]:
        """All records after a position, read one by one; what is no record is left out. Raises `OSError` at once."""
        positions = self._positions(after, newest_first=newest_first)
        return (record for _, record in self._read(positions))

    def _positions(self, after: RecordPosition | None, *, newest_first: bool) -> Iterator[RecordPosition]:
        return self._index.current().after(after, newest_first=newest_first)

    def _read(self, positions: Iterable[RecordPosition]) -> Iterator[tuple[RecordFile, Record]]:
        for position in positions:
            try:
                file = read_file(self._folder / position.name)
                record = parsed(file)
            except (OSError, NoRecordError):
                continue
            yield file, record

    def _outcome(self, name: str) -> RecordEntry | str | None:
        """The list's entry, or why there is none; None of a file that was archived since the folder was listed."""
        if record_step(name) is None:
            return FOREIGN
        try:
            return self._headlines.of(name)
        except FileNotFoundError:
            return None


def _shown(name: str) -> str:
    """A file's name as text, also where it is not UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
