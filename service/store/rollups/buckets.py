"""Aggregates (count, sum, minimum, maximum) of a value over ranges of steps, and merging them."""

import json
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

POINTS = ""
"""The name under which log points themselves are counted; no value has this name."""

Point = tuple[int, Mapping[str, float | None]]
"""A step and the values logged at it; None is a missing value."""


class Bucket(NamedTuple):
    """The aggregate of one value over a range of steps.

    `first_step` and `last_step` are the first and the last step with a value, `count` is the number of values. The
    minimum `low` was logged at `low_step`, the maximum `high` at `high_step`; `total` is the sum.
    """

    first_step: int
    last_step: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which is not used
    low: float
    low_step: int
    high: float
    high_step: int
    total: float

    @property
    def mean(self) -> float:
        """The mean, limited to `low` and `high` because of rounding."""
        mean = self.total / self.count
        return self.low if mean < self.low else self.high if mean > self.high else mean

    def merged_with(self, other: "Bucket") -> "Bucket":
        """Return the aggregate of both buckets, which must not overlap; of equal extremes the earlier one is kept."""
        early, late = (self, other) if self.first_step < other.first_step else (other, self)
        low = late if late.low < early.low else early
        high = late if late.high > early.high else early
        return Bucket(
            early.first_step,
            late.last_step,
            self.count + other.count,
            low.low,
            low.low_step,
            high.high,
            high.high_step,
            self.total + other.total,
        )


_FIELDS = struct.Struct("<qqqdqdqd")
BUCKET_BYTES = _FIELDS.size


def pack(buckets: Iterable[Bucket]) -> bytes:
    """Encode buckets for the store; reading a million numbers from columns or JSON would take seconds."""
    return b"".join(_FIELDS.pack(*bucket) for bucket in buckets)


def unpack(names: Sequence[str], content: bytes) -> Iterator[tuple[str, Bucket]]:
    """Decode packed buckets, whose names are `names`."""
    for name, fields in zip(names, _FIELDS.iter_unpack(content), strict=True):
        yield name, Bucket._make(fields)


def unpack_wanted(names: str, content: bytes, wanted: frozenset[str] | None) -> list[tuple[str, Bucket]]:
    """Decode packed buckets like `unpack`, but only those with a name in `wanted`; None means all.

    `names` is the JSON text of the names, which is the same for nearly all rollups of a run. Raises `ValueError`.
    """
    count, offsets = places(names, wanted)
    if len(content) != count * BUCKET_BYTES:
        raise ValueError(f"{len(content)} bytes are not those of {count} buckets")
    return [(name, Bucket._make(_FIELDS.unpack_from(content, offset))) for name, offset in offsets]


@lru_cache(maxsize=256)
def places(names: str, wanted: frozenset[str] | None) -> tuple[int, tuple[tuple[str, int], ...]]:
    """Return the number of names, and the wanted ones with the offset of their bucket in bytes."""
    decoded: list[str] = json.loads(names)
    offsets = ((name, number * BUCKET_BYTES) for number, name in enumerate(decoded))
    return len(decoded), tuple((name, offset) for name, offset in offsets if wanted is None or name in wanted)


class Buckets:
    """Buckets of several values, aligned to a grid of `width` steps; without a width, one bucket for each value."""

    def __init__(self, width: int | None = None) -> None:
        self._width = width
        self._buckets: dict[str, dict[int, Bucket]] = {}

    def add(self, name: str, bucket: Bucket) -> None:
        """Merge in a bucket that does not cross a boundary of the grid."""
        self.add_all(((name, bucket),))

    def add_all(self, named: Iterable[tuple[str, Bucket]]) -> None:
        """Merge in buckets with their names, none of which may cross a boundary of the grid."""
        for name, bucket in named:
            by_index = self._buckets.setdefault(name, {})
            index = bucket.first_step // self._width if self._width else 0
            existing = by_index.get(index)
            by_index[index] = bucket if existing is None else existing.merged_with(bucket)

    def add_points(self, points: Iterable[Point]) -> None:
        """Merge in log points, which must be in step order."""
        for _, group in groupby(points, key=lambda point: self._index(point[0])):
            for name, bucket in _aggregated(group):
                self.add(name, bucket)

    def count(self, name: str) -> int:
        """Return the number of values with this name in all buckets."""
        return sum(bucket.count for bucket in self._buckets.get(name, {}).values())

    def get(self, name: str) -> list[Bucket]:
        """Return the buckets of one value in step order."""
        return [bucket for _, bucket in sorted(self._buckets.get(name, {}).items())]

    def __iter__(self) -> Iterator[tuple[str, Bucket]]:
        for name, by_index in self._buckets.items():
            for bucket in by_index.values():
                yield name, bucket

    def _index(self, step: int) -> int:
        return step // self._width if self._width else 0


def _aggregated(points: Iterable[Point]) -> Iterator[tuple[str, Bucket]]:
    """Yield one bucket for each value over all points, and one for the points themselves under `POINTS`."""
    columns: dict[str, tuple[list[int], list[float]]] = {POINTS: ([], [])}
    for step, values in points:
        for name, value in ((POINTS, 0.0), *values.items()):
            if value is None:
                continue
            if name not in columns:
                columns[name] = ([], [])
            steps, column = columns[name]
            steps.append(step)
            column.append(value)
    for name, (steps, column) in columns.items():
        low, high = min(column), max(column)
        low_step, high_step = steps[column.index(low)], steps[column.index(high)]
        yield name, Bucket(steps[0], steps[-1], len(steps), low, low_step, high, high_step, sum(column))
