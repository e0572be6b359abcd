"""Where saved records come from: the files of a run directory, or the copies in the store. One interface for both."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from service.api_types import RecordEntry, UnreadableFile
from service.run.record import Record

LATEST = "latest"
"""The name that stands for the record of the highest step."""


class RecordPosition(NamedTuple):
    """A file's place in the order of the list, which new files do not shift."""

    step: int
    name: str


@dataclass(frozen=True)
class RecordFile:
    """One record byte for byte. `modified_at` is Unix seconds."""

    name: str
    content: bytes
    sha256: str
    modified_at: float


@dataclass(frozen=True)
class RecordPage:
    """A stretch of the list: records, what is named like one and is none, and how far it goes.

    `count` is how many files are named as records in all, `end` the last one's position if there are more.
    """

    records: list[RecordEntry]
    unreadable: list[UnreadableFile]
    count: int
    end: RecordPosition | None


class RecordSource(Protocol):
    """The records of one run. Every method raises `OSError` or `StoreUnavailableError` when nothing can be read."""

    def count(self) -> int:
        """How many there are by their names."""

    def page(self, after: RecordPosition | None, limit: int, *, newest_first: bool) -> RecordPage:
        """The next `limit` files after a position, records or not."""

    def find(self, name: str) -> RecordFile | None:
        """The file of this name, or the record of the highest step under `latest`; None when there is none."""

    def records(self, after: RecordPosition | None = None, *, newest_first: bool = False) -> Iterator[Record]:
        """All records after a position, read one by one; what is no record is left out."""
