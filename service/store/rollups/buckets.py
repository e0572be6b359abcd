"""Stretches of a value's history: how they are told in few numbers, and how several become one."""

import struct
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

POINTS = ""
"""The name under which the log points themselves are counted; no value is called so."""

Point = tuple[int, Mapping[str, float | None]]
"""A step and the values logged there; None is no value."""


class Bucket(NamedTuple):
    """What one value did over some steps: `low` and `high` were logged at `low_step` and `high_step`.

    `first_step` and `last_step` are the first and the last with this value, `count` is how many there are.
    """

    first_step: int
    last_step: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody asks
    low: float
    low_step: int
    high: float
    high_step: int
    total: float

    @property
    def mean(self) -> float:
        """The mean, which rounding must not carry out of the bounds."""
        mean = self.total / self.count
        return self.low if mean < self.low else self.high if mean > self.high else mean

    def with_other(self, other: "Bucket") -> "Bucket":
        """Both together, in whichever order; neither begins within the other. Of equal extremes the earlier counts."""
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


def packed(buckets: Iterable[Bucket]) -> bytes:
    """The buckets as the store keeps them: to read a million numbers out of columns or JSON takes seconds."""
    return b"".join(_FIELDS.pack(*bucket) for bucket in buckets)


def unpacked(
    names: Sequence[str], content: bytes, wanted: Collection[str] | None = None
) -> Iterator[tuple[str, Bucket]]:
    """The buckets of these names as they were packed, or only those that are `wanted`."""
    for name, fields in zip(names, _FIELDS.iter_unpack(content), strict=True):
        if wanted is None or name in wanted:
            yield name, Bucket._make(fields)


class Buckets:
    """Gathers what several values did into buckets of a given width in steps; without a width, into one each."""

    def __init__(self, width: int | None = None) -> None:
        self._width = width
        self._found: dict[str, dict[int, Bucket]] = {}

    def add(self, name: str, bucket: Bucket) -> None:
        """Add a bucket that lies within one of the width."""
        of_name = self._found.setdefault(name, {})
        place = self._place(bucket.first_step)
        earlier = of_name.get(place)
        of_name[place] = bucket if earlier is None else earlier.with_other(bucket)

    def add_points(self, points: Iterable[Point]) -> None:
        """Add log points in step order."""
        for _, group in groupby(points, key=lambda point: self._place(point[0])):
            for name, bucket in _summed_up(group):
                self.add(name, bucket)

    def count(self, name: str) -> int:
        """How many values there are in all buckets."""
        return sum(bucket.count for bucket in self._found.get(name, {}).values())

    def of(self, name: str) -> list[Bucket]:
        """The buckets of one value in step order."""
        return [bucket for _, bucket in sorted(self._found.get(name, {}).items())]

    def __iter__(self) -> Iterator[tuple[str, Bucket]]:
        for name, of_name in self._found.items():
            for bucket in of_name.values():
                yield name, bucket

    def _place(self, step: int) -> int:
        return step // self._width if self._width else 0


def _summed_up(points: Iterable[Point]) -> Iterator[tuple[str, Bucket]]:
    """Each value over all points, and the points themselves under their own name."""
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
