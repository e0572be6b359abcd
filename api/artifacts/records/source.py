"""Interface of a source of saved records: the files of a run directory, or the copies in the store."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from service.api_types import RecordEntry, UnreadableFile
from service.run.record import Record

LATEST = "latest"
"""Alias for the record of the highest step."""


class RecordPosition(NamedTuple):
    """Position of a file in the list; stays valid when files are added."""

    step: int
    name: str


@dataclass(frozen=True)
class RecordFile:
    """One record as the exact bytes of its file; `modified_at` is Unix seconds."""

    name: str
    content: bytes
    sha256: str
    modified_at: float


@dataclass(frozen=True)
class RecordPage:
    """One page of the list: records, and files that are named like one but are invalid.

    `count` is the number of all files named like records; `end` is the position of the page's last file, or None on
    the last page.
    """

    records: list[RecordEntry]
    unreadable: list[UnreadableFile]
    count: int
    end: RecordPosition | None


EncodedValues = bytes
"""Step of a record, and some of its values, as members of a JSON object: `"step":…,"values":{…}`."""


class RecordSource(Protocol):
    """Records of one run. Every method raises `OSError` or `StoreUnavailableError` if the source cannot be read."""

    def count(self) -> int:
        """Return the number of records by name."""

    def page(self, after: RecordPosition | None, limit: int, *, newest_first: bool) -> RecordPage:
        """Return the next `limit` files after a position, valid records or not."""

    def find(self, name: str) -> RecordFile | None:
        """Return the file `name`, or for `latest` the record of the highest step; None if there is none."""

    def values(self, keys: tuple[str, ...]) -> Iterator[EncodedValues]:
        """Read some values of all records one by one, newest first; skips invalid files."""

    def records(self, after: RecordPosition | None = None, *, newest_first: bool = False) -> Iterator[Record]:
        """Read the records after a position one by one; skips invalid files."""
