"""Index of the record names in a run directory, ordered by step as a number; takes 8 bytes per record."""

import heapq
import os
import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from api.artifacts.records.source import RecordPosition
from service.run.record import PACKED, record_name, saved_step

# A name contains no slash, so one search through all names joined by slashes finds only complete names.
_RECORDS = re.compile(r"/Statistik_(0|[1-9][0-9]{0,17})\.json(?:\.gz)?(?=/)")
_SIMILAR_NAMES = re.compile(r"/(Statistik_[^/]*)(?=/)")
_RECORD_PREFIX = "/Statistik_"
_LEADING_STEP = re.compile(r"Statistik_([0-9]{1,18})")


class _RecordPositions(Sequence[RecordPosition]):
    """Sequence of positions, created on access from the sequence of steps."""

    def __init__(self, steps: Sequence[int]) -> None:
        self._steps = steps

    def __len__(self) -> int:
        return len(self._steps)

    @overload
    def __getitem__(self, index: int) -> RecordPosition: ...
    @overload
    def __getitem__(self, index: slice) -> "_RecordPositions": ...
    def __getitem__(self, index: int | slice) -> "RecordPosition | _RecordPositions":
        if isinstance(index, slice):
            return _RecordPositions(self._steps[index])
        step = self._steps[index]
        return RecordPosition(step, record_name(step))


@dataclass(frozen=True)
class RecordIndex:
    """Sorted steps of the files with valid record names, and positions of those that only begin like one."""

    steps: Sequence[int]
    foreign: Sequence[RecordPosition]

    @property
    def records(self) -> Sequence[RecordPosition]:
        """The positions of the files with valid record names."""
        return _RecordPositions(self.steps)

    def after(self, position: RecordPosition | None, *, newest_first: bool) -> Iterator[RecordPosition]:
        """Yield all positions after `position`, or all if it is None, records and foreign names in one order."""
        parts = (_after(part, position, newest_first=newest_first) for part in (self.records, self.foreign))
        return heapq.merge(*parts, reverse=newest_first)


EMPTY_INDEX = RecordIndex((), ())


class IndexReader:
    """Lists one folder; returns the previous index if the names have not changed."""

    def __init__(self) -> None:
        self._cached: tuple[int, RecordIndex] | None = None

    def __call__(self, folder: Path) -> RecordIndex:
        """Return the current index of the folder; raises `OSError`."""
        names = f"/{'/'.join(os.listdir(folder))}/"
        if self._cached is None or self._cached[0] != hash(names):
            self._cached = hash(names), _index_of(names)
        return self._cached[1]


def _index_of(names: str) -> RecordIndex:
    found = sorted(map(int, _RECORDS.findall(names)))
    steps = array("q", found if PACKED not in names else sorted(set(found)))  # for a moment a record is there twice
    return RecordIndex(steps, _foreign_names(names) if names.count(_RECORD_PREFIX) > len(found) else ())


def _foreign_names(names: str) -> list[RecordPosition]:
    """Return names that only begin like a record's name, at the step of their leading digits, or at 0."""
    similar = [name for name in _SIMILAR_NAMES.findall(names) if saved_step(name) is None]
    steps = (_LEADING_STEP.match(name) for name in similar)
    return sorted(RecordPosition(int(step[1]) if step else 0, name) for step, name in zip(steps, similar, strict=True))


def _after(
    sorted_part: Sequence[RecordPosition], position: RecordPosition | None, *, newest_first: bool
) -> Iterator[RecordPosition]:
    if newest_first:
        stop = len(sorted_part) if position is None else bisect_left(sorted_part, position)
        return (sorted_part[index] for index in range(stop - 1, -1, -1))
    start = 0 if position is None else bisect_right(sorted_part, position)
    return (sorted_part[index] for index in range(start, len(sorted_part)))
