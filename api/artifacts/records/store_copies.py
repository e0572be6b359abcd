"""Saved records of a run whose directory is not on this machine: the copies that its trainer wrote to the store.

A copy is valid only if its re-encoded bytes have the sha256 of the original file.
"""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import chain, islice

from api.artifacts.lru_cache import LruCache
from api.artifacts.records.columns import encoded_values
from api.artifacts.records.entries import (
    MAX_CACHED_ENTRIES,
    EntryOrReason,
    InvalidRecordError,
    record_entry,
    require_record,
)
from api.artifacts.records.source import LATEST, EncodedValues, RecordFile, RecordPage, RecordPosition
from service.api_types import RecordEntry, UnreadableFile
from service.errors import plain_reason
from service.run.record import Record, encode_record, record_name, record_step
from service.store.queries.records import RecordRow, RecordVersion
from service.store.store import Store

BATCH_SIZE = 100
"""Copies read per query when all are read."""

_entry_cache: LruCache[tuple[str, str, RecordVersion], EntryOrReason] = LruCache(MAX_CACHED_ENTRIES)
"""Entries by store, run and version: a copy with the same sha256 need not be read again."""


class StoredRecordCopies:
    """`RecordSource` for the copies of one run's records; every method raises `StoreUnavailableError`."""

    def __init__(self, store: Store, run_id: str) -> None:
        self._store = store
        self._location = store.location
        self._run_id = run_id

    def count(self) -> int:
        """Return the number of copies."""
        return self._store.records.count(self._run_id)

    def page(self, after: RecordPosition | None, limit: int, *, newest_first: bool) -> RecordPage:
        """Return the next `limit` copies after a position."""
        versions = self._versions(after.step if after else None, limit + 1, newest_first=newest_first)
        records: list[RecordEntry] = []
        unreadable: list[UnreadableFile] = []
        for version, result in self._entries(versions[:limit]):
            if isinstance(result, str):
                unreadable.append({"name": record_name(version.step), "reason": result})
            else:
                records.append(result)
        last = versions[limit - 1] if len(versions) > limit else None
        end = RecordPosition(last.step, record_name(last.step)) if last else None
        return RecordPage(records, unreadable, self.count(), end)

    def find(self, name: str) -> RecordFile | None:
        """Return the copy of record `name`, or for `latest` of the highest step; None if there is none."""
        step = record_step(name)
        if name == LATEST:
            return next((file for file, _ in _read(self._rows(None, newest_first=True, batch_size=1))), None)
        row = None if step is None else self._store.records.get(self._run_id, step)
        try:
            return None if row is None else _file(row)
        except InvalidRecordError:
            return None

    def values(self, keys: tuple[str, ...]) -> Iterator[EncodedValues]:
        """Read some values of all copies, newest first."""
        return (encoded_values(record, keys) for record in self.records(newest_first=True))

    def records(self, after: RecordPosition | None = None, *, newest_first: bool = False) -> Iterator[Record]:
        """Read the records after a position in batches and skip invalid copies; raises immediately."""
        rows = self._rows(after.step if after else None, newest_first=newest_first)
        first = list(islice(rows, 1))
        return (record for _, record in _read(chain(first, rows)))

    def _versions(self, beyond: int | None, limit: int, *, newest_first: bool) -> list[RecordVersion]:
        return self._store.records.find_versions(self._run_id, beyond=beyond, newest_first=newest_first, limit=limit)

    def _entries(self, versions: Sequence[RecordVersion]) -> Iterator[tuple[RecordVersion, EntryOrReason]]:
        """Yield each copy's list entry, or the reason why there is none; reads copies only if one is not cached."""
        known = {version.step: _entry_cache.get((self._location, self._run_id, version)) for version in versions}
        if None in known.values():
            for row in self._copies(versions):
                known[row.step] = result = _entry_or_reason(row)
                version = RecordVersion(row.step, row.time, row.sha256)
                _entry_cache.put((self._location, self._run_id, version), result)
        for version in versions:
            entry = known[version.step]
            if entry is not None:  # None: the record was archived meanwhile
                yield version, entry

    def _rows(self, beyond: int | None, *, newest_first: bool, batch_size: int = BATCH_SIZE) -> Iterator[RecordRow]:
        """Yield all copies beyond a step, read in batches of `batch_size`."""
        while versions := self._versions(beyond, batch_size, newest_first=newest_first):
            rows = self._copies(versions)
            yield from reversed(rows) if newest_first else rows
            beyond = versions[-1].step

    def _copies(self, versions: Sequence[RecordVersion]) -> list[RecordRow]:
        """Return the copies with these consecutive versions, in step order."""
        lowest = min(version.step for version in versions)
        return self._store.records.find(self._run_id, after_step=lowest - 1, limit=len(versions))


def _read(rows: Iterator[RecordRow]) -> Iterator[tuple[RecordFile, Record]]:
    for row in rows:
        try:
            file = _file(row)
            require_record(row.step, row.record)
        except InvalidRecordError:
            continue
        yield file, dict(row.record)


def _entry_or_reason(row: RecordRow) -> EntryOrReason:
    try:
        file = _file(row)
        require_record(row.step, row.record)
        return record_entry(file, row.record)
    except InvalidRecordError as error:
        return f"the store's copy is not a record ({error})"


def _file(row: RecordRow) -> RecordFile:
    """Re-encode the copied file; raises `InvalidRecordError` if the bytes differ from the original's sha256."""
    try:
        content = encode_record(dict(row.record))
    except (ValueError, TypeError) as error:
        raise InvalidRecordError(plain_reason(error)) from None
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != row.sha256:
        raise InvalidRecordError(f"its sha256 is not {row.sha256}, that of the file")
    return RecordFile(record_name(row.step), content, sha256, row.time)
