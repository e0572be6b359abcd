"""The saved records of a run whose directory is not on this machine: the copies that its trainer put into the store.

A copy counts only where its bytes, made anew, have the sha256 of the file that was written.
"""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import chain, islice

from api.artifacts.lru_cache import LruCache
from api.artifacts.records.entries import MOST_KEPT, EntryOrReason, NoRecordError, record_entry, require_record
from api.artifacts.records.source import LATEST, RecordFile, RecordPage, RecordPosition
from service.api_types import RecordEntry, UnreadableFile
from service.run.record import Record, encode_record, record_name, record_step
from service.store.queries.records import RecordRow, RecordVersion
from service.store.store import Store

BATCH = 100
"""Copies read at a time where all are."""

_outcomes: LruCache[tuple[str, RecordVersion], EntryOrReason] = LruCache(MOST_KEPT)
"""By run and mark: a copy with the same sha256 is the same, and need not be read again."""


class StoredRecordCopies:
    """The copies of one run's records. A `RecordSource`; every method raises `StoreUnavailableError`."""

    def __init__(self, store: Store, run_id: str) -> None:
        self._store = store
        self._run_id = run_id

    def count(self) -> int:
        """How many copies there are."""
        return self._store.records.count(self._run_id)

    def page(self, after: RecordPosition | None, limit: int, *, newest_first: bool) -> RecordPage:
        """The next `limit` copies after a position."""
        marks = self._marks(after.step if after else None, limit + 1, newest_first=newest_first)
        records: list[RecordEntry] = []
        unreadable: list[UnreadableFile] = []
        for mark, outcome in self._judged(marks[:limit]):
            if isinstance(outcome, str):
                unreadable.append({"name": record_name(mark.step), "reason": outcome})
            else:
                records.append(outcome)
        last = marks[limit - 1] if len(marks) > limit else None
        end = RecordPosition(last.step, record_name(last.step)) if last else None
        return RecordPage(records, unreadable, self.count(), end)

    def find(self, name: str) -> RecordFile | None:
        """The copy of the record of this name, or of the newest under `latest`; None when there is none."""
        step = record_step(name)
        if name == LATEST:
            return next((file for file, _ in _read(self._rows(None, newest_first=True, together=1))), None)
        row = None if step is None else self._store.records.get(self._run_id, step)
        try:
            return None if row is None else _file(row)
        except NoRecordError:
            return None

    def records(self, after: RecordPosition | None = None, *, newest_first: bool = False) -> Iterator[Record]:
        """All records after a position, read in batches; what is no record is left out. Raises at once."""
        rows = self._rows(after.step if after else None, newest_first=newest_first)
        first = list(islice(rows, 1))
        return (record for _, record in _read(chain(first, rows)))

    def _marks(self, beyond: int | None, limit: int, *, newest_first: bool) -> list[RecordVersion]:
        return self._store.records.find_versions(self._run_id, beyond=beyond, newest_first=newest_first, limit=limit)

    def _judged(self, marks: Sequence[RecordVersion]) -> Iterator[tuple[RecordVersion, EntryOrReason]]:
        """The list's entry for each copy, or why there is none. Copies are read only where one is not known yet."""
        known = {mark.step: _outcomes.get((self._run_id, mark)) for mark in marks}
        if None in known.values():
            for row in self._copies(marks):
                known[row.step] = outcome = _outcome(row)
                _outcomes.put((self._run_id, RecordVersion(row.step, row.time, row.sha256)), outcome)
        for mark in marks:
            found = known[mark.step]
            if found is not None:  # else it was archived meanwhile
                yield mark, found

    def _rows(self, beyond: int | None, *, newest_first: bool, together: int = BATCH) -> Iterator[RecordRow]:
        """All copies beyond a step, read so many at a time."""
        while marks := self._marks(beyond, together, newest_first=newest_first):
            rows = self._copies(marks)
            yield from reversed(rows) if newest_first else rows
            beyond = marks[-1].step

    def _copies(self, marks: Sequence[RecordVersion]) -> list[RecordRow]:
        """The copies with these marks, which follow each other, in step order."""
        lowest = min(mark.step for mark in marks)
        return self._store.records.find(self._run_id, after_step=lowest - 1, limit=len(marks))


def _read(rows: Iterator[RecordRow]) -> Iterator[tuple[RecordFile, Record]]:
    for row in rows:
        try:
            file = _file(row)
            require_record(file.name, row.record)
        except NoRecordError:
            continue
        yield file, dict(row.record)


def _outcome(row: RecordRow) -> EntryOrReason:
    try:
        file = _file(row)
        require_record(file.name, row.record)
        return record_entry(file, row.record)
    except NoRecordError as error:
        return f"the store's copy is not a record ({error})"


def _file(row: RecordRow) -> RecordFile:
    """The bytes of the file that the copy was made of; raises `NoRecordError` when they are other ones."""
    try:
        content = encode_record(dict(row.record))
    except (ValueError, TypeError) as error:
        raise NoRecordError(str(error)) from None
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != row.sha256:
        raise NoRecordError(f"its sha256 is not {row.sha256}, that of the file")
    return RecordFile(record_name(row.step), content, sha256, row.time)
