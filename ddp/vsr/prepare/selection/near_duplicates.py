"""Scenes that show the same pictures: copies that were re-encoded, resized or brightened, and cameras that come back.

Scenes are near-duplicates if frames spread over one of them have a near frame in the other. Never decodes: it compares
the hashes that a survey has found.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ddp.vsr.prepare.selection.frame_hashes import FLAT, Hashes, near

MAX_COMPARED = 20_000
"""Frames compared on each side; of more, fewer of each scene."""
BLOCK = 256
"""Frames that are compared at a time."""
MATCHING_SHARE = 0.3
"""Of the compared frames of one of the two, how many need a near one in the other."""
LEAST_MATCHES, SURE_MATCHES = 3, 25
"""So many at least; so many are enough, however long the spots are."""


class Span(Protocol):
    """Frames of one source."""

    @property
    def first_frame(self) -> int:
        """Number of the first frame."""

    @property
    def frame_count(self) -> int:
        """Number of frames."""


@dataclass(frozen=True)
class Spot:
    """A span of a source, whose frames have these hashes; `name` is the source's."""

    name: str
    span: Span
    hashes: Hashes
    """Of all frames of the source."""


@dataclass(frozen=True)
class Match:
    """Two spots, by their numbers, and two frames that look alike."""

    first: int
    second: int
    first_frame: int
    second_frame: int


def matches_between(first: Sequence[Spot], second: Sequence[Spot]) -> list[Match]:
    """Return the near-duplicates among pairs of spots, one of each list, in order."""
    a, b = _compared(first), _compared(second)
    if not len(a.hashes) or not len(b.hashes):
        return []
    return [match for number in range(len(first)) for match in _matches_of(number, a, b)]


def _matches_of(number: int, a: "_Compared", b: "_Compared") -> Iterator[Match]:
    """Yield the spots of `b` that show the same as one spot of `a`."""
    start, size = a.starts[number], a.sizes[number]
    present = np.nonzero(b.sizes)[0]  # spots with frames that can be compared
    seen_here, seen_there = np.zeros(len(present), int), np.zeros(len(b.hashes), bool)
    for block in range(start, start + size, BLOCK):
        table = near(a.hashes[block : min(block + BLOCK, start + size)], b.hashes)
        seen_here += np.logical_or.reduceat(table, b.starts[present], axis=1).sum(axis=0)
        seen_there |= table.any(axis=0)
    there = np.add.reduceat(seen_there.astype(int), b.starts[present])
    for other, here_count, there_count in zip(present.tolist(), seen_here.tolist(), there.tolist(), strict=True):
        if here_count and (_is_enough(here_count, size) or _is_enough(there_count, b.sizes[other])):
            yield Match(number, other, *_example(number, a, other, b))


def _example(number: int, a: "_Compared", other: int, b: "_Compared") -> tuple[int, int]:
    """Return the first two frames of two spots that look alike."""
    own, others = (slice(c.starts[i], c.starts[i] + c.sizes[i]) for c, i in ((a, number), (b, other)))
    for row, value in enumerate(a.hashes[own]):
        found = near(np.array([value]), b.hashes[others])[0]
        if found.any():
            return int(a.frames[own][row]), int(b.frames[others][found.argmax()])
    raise AssertionError("there are none")


def groups_of(count: int, matches: Sequence[Match]) -> list[int]:
    """Return for each of `count` spots the lowest number among those that it is joined with by matches."""
    leaders = list(range(count))

    def leader(number: int) -> int:
        while leaders[number] != number:
            leaders[number] = leaders[leaders[number]]
            number = leaders[number]
        return number

    for match in matches:
        low, high = sorted((leader(match.first), leader(match.second)))
        leaders[high] = low
    return [leader(number) for number in range(count)]


@dataclass(frozen=True)
class _Compared:
    """The compared frames of all spots, one spot after the other."""

    hashes: Hashes
    frames: NDArray[np.intp]
    sizes: NDArray[np.intp]
    """Frames of each spot."""
    starts: NDArray[np.intp]
    """Where those of each spot begin."""


def _compared(spots: Sequence[Spot]) -> _Compared:
    """Return the frames of the spots that are compared: without flat ones, and spread over each spot."""
    step = max(1, -(-sum(spot.span.frame_count for spot in spots) // MAX_COMPARED))
    frames = [_structured(spot, step) for spot in spots]
    sizes = np.array([len(own) for own in frames], np.intp)
    hashes = [spot.hashes[own] for spot, own in zip(spots, frames, strict=True)]
    return _Compared(
        np.concatenate([np.empty(0, np.uint64), *hashes]),
        np.concatenate([np.empty(0, np.intp), *frames]),
        sizes,
        np.cumsum(sizes) - sizes,
    )


def _structured(spot: Spot, step: int) -> NDArray[np.intp]:
    """Return every `step`-th frame of a spot that is not flat."""
    first = spot.span.first_frame
    frames = np.arange(first, first + spot.span.frame_count, step)
    return frames[spot.hashes[frames] != FLAT]


def _is_enough(matching: int, compared: int) -> bool:
    """Return whether so many of the compared frames of a spot say that it is seen elsewhere."""
    wanted = min(SURE_MATCHES, max(LEAST_MATCHES, round(MATCHING_SHARE * compared)))
    return matching >= min(compared, wanted)
