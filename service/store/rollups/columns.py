"""Buckets of one value as columns: many rollups or log points at once, without an object for each bucket.

A long curve of all values has 50,000 buckets; as objects, they would take most of the time of its answer.
"""

import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby, islice, pairwise
from operator import gt, itemgetter, lt, truediv
from typing import Any, overload

from service.store.rollups.buckets import BUCKET_BYTES, Bucket, Point, places

BATCH_ROLLUPS = 128
"""Rollups that are decoded at a time: to get and give back memory for all takes longer than to decode them."""
_ITEM_BYTES = 8
_FIELD_COUNT = BUCKET_BYTES // _ITEM_BYTES


@dataclass(frozen=True)
class BucketColumns(Sequence[Bucket]):
    """Buckets of one value in step order, with a list for each field of `Bucket`."""

    first_steps: list[int] = field(default_factory=list)
    last_steps: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    lows: list[float] = field(default_factory=list)
    low_steps: list[int] = field(default_factory=list)
    highs: list[float] = field(default_factory=list)
    high_steps: list[int] = field(default_factory=list)
    totals: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, buckets: Iterable[Bucket]) -> "BucketColumns":
        """Return the columns of buckets that are in step order."""
        return cls(*map(list, zip(*buckets, strict=True)))

    def means(self) -> list[float]:
        """Return the mean of each bucket; see `Bucket.mean`."""
        means = [*map(truediv, self.totals, self.counts)]
        if not any(map(lt, means, self.lows)) and not any(map(gt, means, self.highs)):
            return means
        limits = zip(means, self.lows, self.highs, strict=True)
        return [low if mean < low else high if mean > high else mean for mean, low, high in limits]

    def fields(self) -> tuple[list[Any], ...]:
        """Return the lists in the order of the fields of `Bucket`."""
        return (
            self.first_steps, self.last_steps, self.counts, self.lows, self.low_steps, self.highs, self.high_steps,
            self.totals,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.first_steps)

    @overload
    def __getitem__(self, index: int) -> Bucket: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Bucket]: ...
    def __getitem__(self, index: int | slice) -> Bucket | Sequence[Bucket]:
        if isinstance(index, slice):
            return [*self][index]
        return Bucket._make(column[index] for column in self.fields())

    def __iter__(self) -> Iterator[Bucket]:
        return map(Bucket._make, zip(*self.fields(), strict=True))


def joined(parts: Iterable[BucketColumns]) -> BucketColumns:
    """Return the buckets of several columns, none of which may overlap, in step order."""
    some = sorted((part for part in parts if part.first_steps), key=lambda part: part.first_steps[0])
    if len(some) <= 1:
        return some[0] if some else BucketColumns()
    if all(one.first_steps[-1] < other.first_steps[0] for one, other in pairwise(some)):
        fields = zip(*(part.fields() for part in some), strict=True)
        return BucketColumns(*([*chain.from_iterable(lists)] for lists in fields))
    return BucketColumns.of(sorted(chain.from_iterable(some)))


def unpack_columns(rollups: Iterable[tuple[str, bytes]], wanted: frozenset[str] | None) -> Mapping[str, BucketColumns]:
    """Decode packed rollups, which are in step order, as `unpack_wanted` does each; raises `ValueError`."""
    found: dict[str, BucketColumns] = {}
    for names, group in groupby(rollups, key=itemgetter(0)):
        count, offsets = places(names, wanted)
        contents = (_checked(content, count) for _, content in group)
        while batch := [*islice(contents, BATCH_ROLLUPS)]:
            integers, floats = _items(b"".join(batch))
            for name, offset in offsets:
                columns = found.setdefault(name, BucketColumns())
                for number, column in enumerate(columns.fields(), offset // _ITEM_BYTES):
                    items: memoryview[Any] = floats if number % _FIELD_COUNT in _FLOATS else integers
                    column += items[number :: count * _FIELD_COUNT].tolist()
    return found


_FLOATS = frozenset({Bucket._fields.index(name) for name in ("low", "high", "total")})


def _checked(content: bytes, count: int) -> bytes:
    if len(content) != count * BUCKET_BYTES:
        raise ValueError(f"{len(content)} bytes are not those of {count} buckets")
    return content


def _items(content: bytes) -> tuple["memoryview[int]", "memoryview[float]"]:
    """Return packed buckets as integers and as floats, of which each is one or the other."""
    if sys.byteorder == "big":  # they are packed with the lowest byte first
        swapped = array("q", content)
        swapped.byteswap()
        content = swapped.tobytes()
    return memoryview(content).cast("q"), memoryview(content).cast("d")


def aggregated(points: Iterable[Point], names: Sequence[str], width: int) -> Mapping[str, BucketColumns]:
    """Return the buckets of the named values of log points, which must be in step order, on a grid of `width` steps."""
    known = [*points]
    return {name: _of_points(known, name, width) for name in names}


def _of_points(points: Sequence[Point], name: str, width: int) -> BucketColumns:
    known = [(step, float(value)) for step, values in points if (value := values.get(name)) is not None]
    steps, column = [step for step, _ in known], [value for _, value in known]
    if width == 1:
        return BucketColumns(steps, steps, [1] * len(steps), column, steps, column, steps, column)
    starts = _starts(steps, width)
    parts = [column[start:stop] for start, stop in pairwise(starts)]
    lows, highs = [*map(min, parts)], [*map(max, parts)]
    return BucketColumns(
        [steps[start] for start in starts[:-1]],
        [steps[stop - 1] for stop in starts[1:]],
        [*map(len, parts)],
        lows,
        [steps[start + part.index(low)] for start, part, low in zip(starts, parts, lows, strict=False)],
        highs,
        [steps[start + part.index(high)] for start, part, high in zip(starts, parts, highs, strict=False)],
        [*map(sum, parts)],
    )


def _starts(steps: Sequence[int], width: int) -> list[int]:
    """Return where in `steps` each part of the grid begins, and their number at the end."""
    indices = [step // width for step in steps]
    starts = [place for place, (one, other) in enumerate(pairwise(indices), 1) if one != other]
    return [0, *starts, len(steps)] if steps else []
