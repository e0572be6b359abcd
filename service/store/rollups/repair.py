"""Checks the rollups of a run against its log points, and makes them anew if they miss or disagree.

Earlier versions let two trainers of one run write rollups at the same time, which left wrong ones behind.
"""

import logging
import math
import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import sqlalchemy as sa

from service.store.rollups.buckets import POINTS, Bucket, Buckets, Point, unpack
from service.store.rollups.reader import LEVEL_SIZES, MIN_POINTS
from service.store.rollups.writer import ROLLUP_VERSION, RollupWriter
from service.store.tables import series, series_progress, series_summaries

MAX_CHECKED_POINTS = 10_000
"""Up to so many log points every value is compared and, if need be, every rollup is made anew at once.

Beyond, it is compared which rollups there are and how many log points they count; they are made anew little by little,
as log points are added.
"""

Key = tuple[int, int]
"""Level and index of a rollup."""

logger = logging.getLogger(__name__)


def repair(connection: sa.Connection, run_id: str) -> bool:
    """Check a run's rollups and those of its branches; return True if any were wrong and are made anew.

    Must be called in a transaction that holds the run's lock.
    """
    suspect = series_progress.c.run_id.startswith(f"{run_id}-branch-", autoescape=True)
    suspect &= series_progress.c.rollup_version.is_(None)
    branches = connection.execute(sa.select(series_progress.c.run_id).where(suspect)).scalars().all()
    were_wrong = [_repair_one(connection, name) for name in (run_id, *branches)]
    return any(were_wrong)


def _repair_one(connection: sa.Connection, run_id: str) -> bool:
    is_right = _RollupCheck(connection, run_id).passes()
    if is_right:
        mark = sa.update(series_progress).values(rollup_version=ROLLUP_VERSION)
        connection.execute(mark.where(series_progress.c.run_id == run_id, series_progress.c.rollup_version.is_(None)))
        RollupWriter(connection, run_id).renew_token()
    else:
        logger.info("The rollups of %s disagree with its log points, or may; they are made anew.", run_id)
        RollupWriter(connection, run_id).rebuild(MAX_CHECKED_POINTS)
    return not is_right


class _RollupCheck:
    """Compares the rollups of one run with its log points."""

    def __init__(self, connection: sa.Connection, run_id: str) -> None:
        self._connection = connection
        self._run_id = run_id
        columns = (series_progress.c.summarised_to, series_progress.c.names, series_progress.c.rollup_version)
        row = connection.execute(sa.select(*columns).where(series_progress.c.run_id == run_id)).first()
        self._end: int = row[0] if row else 0
        self._names: Mapping[str, int] = row[1] if row else {}
        self._version: int | None = row[2] if row else ROLLUP_VERSION

    def passes(self) -> bool:
        """Return True if all rollups are there and none is wrong."""
        counts = self._point_counts()
        if self._stored_keys() != {key for key, _ in _rollups(counts, self._end)}:
            return False
        if sum(counts.values()) <= MAX_CHECKED_POINTS:
            return self._has_right_values()
        return self._version == ROLLUP_VERSION and self._has_right_counts(counts)

    def _point_counts(self) -> dict[int, int]:
        """Return the number of log points by index of the lowest level."""
        index = series.c.step // LEVEL_SIZES[0]
        is_rolled_up = (series.c.run_id == self._run_id) & (series.c.step < self._end)
        query = sa.select(index, sa.func.count()).where(is_rolled_up).group_by(sa.text("1"))
        return {row[0]: row[1] for row in self._connection.execute(query)}

    def _stored_keys(self) -> set[Key]:
        query = sa.select(series_summaries.c.level, series_summaries.c.bucket)
        rows = self._connection.execute(query.where(series_summaries.c.run_id == self._run_id))
        return {(row[0], row[1]) for row in rows}

    def _has_right_counts(self, counts: Mapping[int, int]) -> bool:
        """Return True if the rollups of the highest level, which all others are part of, count all log points."""
        expected = dict(_rollups(counts, self._end))
        highest = max((level for level, _ in expected), default=0)
        stored = {key: buckets[POINTS].count for key, buckets in self._stored(highest) if POINTS in buckets}
        return stored == {key: count for key, count in expected.items() if key[0] == highest}

    def _has_right_values(self) -> bool:
        points = self._points()
        if not {name for _, values in points for name in values} <= set(self._names):
            return False
        buckets = Buckets(LEVEL_SIZES[0])
        buckets.add_points(points)
        for level, size in enumerate(LEVEL_SIZES, 1):
            if size > self._end:
                return True
            if level > 1:
                buckets = _merged(buckets, size)
            by_index = _by_index(buckets, size)
            if any(not _agree(stored, by_index.get(index, {})) for (_, index), stored in self._stored(level)):
                return False
        return True

    def _points(self) -> list[Point]:
        is_rolled_up = (series.c.run_id == self._run_id) & (series.c.step < self._end)
        query = sa.select(series.c.step, series.c["values"]).where(is_rolled_up).order_by(series.c.step)
        return [(row[0], row[1]) for row in self._connection.execute(query)]

    def _stored(self, level: int) -> Iterator[tuple[Key, dict[str, Bucket]]]:
        columns = (series_summaries.c.bucket, series_summaries.c.names, series_summaries.c.stretches)
        is_wanted = (series_summaries.c.run_id == self._run_id) & (series_summaries.c.level == level)
        for index, names, content in self._connection.execute(sa.select(*columns).where(is_wanted)):
            yield (level, index), _decoded(names, content)


def _decoded(names: Sequence[str], content: bytes) -> dict[str, Bucket]:
    """Return the buckets of one rollup by name; none if it is damaged."""
    try:
        return dict(unpack(names, content))
    except (struct.error, ValueError):
        return {}


def _rollups(counts: Mapping[int, int], end: int) -> Iterator[tuple[Key, int]]:
    """Yield every rollup that there must be before the step `end`, and the number of its log points."""
    for level, size in enumerate(LEVEL_SIZES, 1):
        if size > end:
            return
        if level > 1:
            counts = _joined(counts)
        for index, count in counts.items():
            if count >= MIN_POINTS and (index + 1) * size <= end:
                yield (level, index), count


def _joined(halves: Mapping[int, int]) -> Mapping[int, int]:
    """Return the number of log points by index of the next level."""
    counts: Counter[int] = Counter()
    for index, count in halves.items():
        counts[index // 2] += count
    return counts


def _merged(halves: Buckets, size: int) -> Buckets:
    """Return the buckets of the next level."""
    buckets = Buckets(size)
    for name, bucket in halves:
        buckets.add(name, bucket)
    return buckets


def _by_index(buckets: Buckets, size: int) -> dict[int, dict[str, Bucket]]:
    by_index: dict[int, dict[str, Bucket]] = {}
    for name, bucket in buckets:
        by_index.setdefault(bucket.first_step // size, {})[name] = bucket
    return by_index


def _agree(stored: Mapping[str, Bucket], right: Mapping[str, Bucket]) -> bool:
    """Return True if both are the same; totals may differ by rounding, because they were added in another order."""
    return stored.keys() == right.keys() and all(
        bucket[:-1] == right[name][:-1] and _is_close(bucket, right[name]) for name, bucket in stored.items()
    )


def _is_close(first: Bucket, second: Bucket) -> bool:
    slack = 1e-9 * first.count * max(abs(first.low), abs(first.high))
    return first.total == second.total or math.isclose(first.total, second.total, rel_tol=1e-9, abs_tol=slack)
