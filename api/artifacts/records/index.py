"""The names of a run directory's records, in the order of their steps as numbers: 8 bytes for each."""

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
from service.run.record import record_name, record_step

# A name holds no slash, so that one search through all names at once finds whole ones only.
_RECORDS = re.compile(r"/Statistik_(0|[1-9][0-9]{0,17})\.json(?=/)")
_LIKE_RECORDS = re.compile(r"/(Statistik_[^/]*)(?=/)")
_LIKENESS = "/Statistik_"
_LEADING_STEP = re.compile(r"Statistik_([0-9]{1,18})")


class _RecordPositions(Sequence[RecordPosition]):
    """Steps as positions, made when asked for."""

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
    """`records` are named as records are, `foreign` begin likewise and are none; both sorted."""

    records: Sequence[RecordPosition]
    foreign: Sequence[RecordPosition]

    def after(self, position: RecordPosition | None, *, newest_first: bool) -> Iterator[RecordPosition]:
        """Everything beyond `position`, or all, in one order."""
        parts = (_beyond(part, position, newest_first=newest_first) for part in (self.records, self.foreign))
        return heapq.merge(*parts, reverse=newest_first)


NOTHING = RecordIndex((), ())


class IndexReader:
    """Lists one folder; where the names are those of the time before, the index is the same too."""

    def __init__(self) -> None:
        self._known: tuple[int, RecordIndex] | None = None

    def __call__(self, folder: Path) -> RecordIndex:
        """The index of the folder as it is now; raises `OSError`."""
        names = f"/{'/'.join(os.listdir(folder))}/"
        if self._known is None or self._known[0] != hash(names):
            self._known = hash(names), _index_of(names)
        return self._known[1]


def _index_of(names: str) -> RecordIndex:
    steps = array("q", sorted(map(int, _RECORDS.findall(names))))
    return RecordIndex(_RecordPositions(steps), _foreign(names) if names.count(_LIKENESS) > len(steps) else ())


def _foreign(names: str) -> list[RecordPosition]:
    """What begins like a record's name, at the step that its digits say, or else at 0."""
    found = [name for name in _LIKE_RECORDS.findall(names) if record_step(name) is None]
    steps = (_LEADING_STEP.match(name) for name in found)
    return sorted(RecordPosition(int(step[1]) if step else 0, name) for step, name in zip(steps, found, strict=True))


def _beyond(
    sorted_part: Sequence[RecordPosition], position: RecordPosition | None, *, newest_first: bool
) -> Iterator[RecordPosition]:
    if newest_first:
        stop = len(sorted_part) if position is None else bisect_left(sorted_part, position)
        return (sorted_part[index] for index in range(stop - 1, -1, -1))
    start = 0 if position is None else bisect_right(sorted_part, position)
    return (sorted_part[index] for index in range(start, len(sorted_part)))
