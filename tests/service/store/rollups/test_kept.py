"""Rollups kept in memory: whatever happens to the store, the answer is that of the log points that are there now."""

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from service.store.rollups import reader
from service.store.rollups.kept import Rollup, RollupCache, holds, new_token
from service.store.store import SeriesRow, Store
from service.store.tables import runs, series_progress

RUN = "run-1"
COUNT = 2000
POINTS = 50


class CountingCache(RollupCache):
    """A cache that counts how often it was asked, and the rollups that it read from the store."""

    asked = read = 0

    def get(
        self, token: str, level: int, indices: range, read: Callable[[range], Sequence[Rollup]]
    ) -> Sequence[Rollup]:
        def counted(missing: range) -> Sequence[Rollup]:
            found = read(missing)
            self.read += len(found)
            return found

        self.asked += 1
        return super().get(token, level, indices, counted)


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch) -> CountingCache:
    """What is kept during this test, and nothing from before."""
    monkeypatch.setattr(reader, "KEPT", cache := CountingCache(10_000_000))
    return cache


@pytest.fixture
def store(location: Path | str, cache: RollupCache) -> Iterator[Store]:
    with closing(Store(location, create=True)) as store:
        store.open_run(RUN, {}, now=1000.0)
        add(store, range(COUNT))
        yield store


def add(store: Store, steps: range, factor: float = 1.0, run: str = RUN) -> None:
    store.series.add(run, [SeriesRow(step, 1.0, {"loss": factor * (step % 977)}) for step in steps])


def check(store: Store, run: str = RUN) -> None:
    """Compare a long curve, read twice, with the log points."""
    points = {row.step: row.values["loss"] for row in store.series.find(run)}
    for _ in range(2):
        (curve,) = store.series.envelope(run, ["loss"], 0, 10**6, POINTS).values()
        assert sum(curve.counts) == len(points)
        for bucket in curve:
            values = [value for step, value in points.items() if bucket.first_step <= step <= bucket.last_step]
            assert (bucket.count, bucket.low, bucket.high) == (len(values), min(values), max(values))
            assert math.isclose(bucket.total, math.fsum(values), abs_tol=1e-6)


def test_what_was_read_once_is_not_read_again_and_new_rollups_alone_are(store: Store, cache: CountingCache) -> None:
    check(store)
    first = cache.read
    assert cache.asked == 2
    assert POINTS // 2 < first < 2 * POINTS
    assert cache.byte_count > 0

    add(store, range(COUNT, COUNT + 500))
    check(store)

    assert first < cache.read < first + POINTS // 2


def test_a_later_part_and_then_an_earlier_one_give_the_whole(store: Store, cache: CountingCache) -> None:
    for first, last in ((1000, 10**6), (500, 1500), (0, 250)):
        store.series.envelope(RUN, ["loss"], first, last, POINTS // 4)

    check(store)


def test_a_late_log_point_is_in_the_curve(store: Store) -> None:
    check(store)
    store.series.add(RUN, [SeriesRow(1234, 1.0, {"loss": 99_999.0})])

    check(store)
    assert max(store.series.envelope(RUN, ["loss"], 0, COUNT, POINTS)["loss"].highs) == 99_999.0


def test_after_a_rollback_the_curve_and_its_branch_are_what_each_has_logged(store: Store) -> None:
    check(store)
    branch = store.move_to_branch(RUN, 700, f"{RUN}-branch-0")
    assert branch is not None
    check(store)
    check(store, branch)

    add(store, range(701, COUNT + 700), factor=-3.0)

    check(store)
    check(store, branch)


def test_rollups_that_are_made_anew_are_read_anew(store: Store) -> None:
    check(store)
    with store.transaction() as connection:
        connection.execute(sa.update(series_progress).values(rollup_version=None))
        connection.execute(sa.text("DELETE FROM series_summaries WHERE level = 1"))
    store.open_run(RUN, {}, now=2000.0)

    check(store)


def test_two_processes_see_what_a_third_one_writes(
    store: Store, location: Path | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    caches = [RollupCache(10_000_000), RollupCache(10_000_000)]
    with closing(Store(location)) as other:
        for number in range(4):
            for readers_store, cache in zip((store, other), caches, strict=True):
                monkeypatch.setattr(reader, "KEPT", cache)
                check(readers_store)
            add(store, range(COUNT + 300 * number, COUNT + 300 * number + 300), factor=number)
            store.series.add(RUN, [SeriesRow(100 * number, 1.0, {"loss": -1.0 - number})])


def test_another_store_at_the_same_path_with_the_same_run_is_the_one_that_is_shown(
    tmp_path: Path, cache: RollupCache
) -> None:
    paths = [tmp_path / name for name in ("one.db", "two.db")]
    for path, factor in zip(paths, (1.0, 2.0), strict=True):
        with closing(Store(path, create=True)) as made:
            made.open_run(RUN, {}, now=1000.0)
            add(made, range(COUNT), factor)
    with closing(Store(tmp_path / "leitstand.db")) as shown:
        for path in (*paths, *paths):
            shutil.copyfile(path, tmp_path / "leitstand.db")  # the same file: not even its number changes

            check(shown)


def test_a_store_that_was_copied_and_gone_on_with_twice_is_no_other(tmp_path: Path, cache: RollupCache) -> None:
    with closing(Store(tmp_path / "one.db", create=True)) as one:
        one.open_run(RUN, {}, now=1000.0)
        add(one, range(1000))
    shutil.copyfile(tmp_path / "one.db", tmp_path / "two.db")
    for number, name in enumerate(("one.db", "two.db")):
        with closing(Store(tmp_path / name)) as store:
            store.open_run(RUN, {}, now=2000.0)  # at the same time, even
            add(store, range(1000, COUNT), factor=2.0 + number)
            check(store)


def test_after_a_trainer_of_an_earlier_version_has_started_nothing_is_kept(store: Store, cache: CountingCache) -> None:
    check(store)
    asked = cache.asked
    with store.transaction() as connection:  # which knows no token, and so leaves it as it is
        connection.execute(sa.update(runs).values(started_at=3000.0))

    check(store)

    assert cache.asked == asked


def test_a_token_holds_for_one_start_of_the_run() -> None:
    assert holds(new_token(12.5), 12.5)
    assert holds(new_token(None), None)
    assert not holds(new_token(12.5), 12.25)
    assert not holds(new_token(12.5), None)
    assert not holds(None, None)


def test_what_was_used_last_is_kept_within_the_bound() -> None:
    cache, asked = RollupCache(10_000), []

    def read(indices: range) -> list[tuple[int, str, bytes]]:
        asked.append(indices)
        return [(index, '["loss"]', bytes(700)) for index in indices]

    for token in ("a", "b", "a", "c", "a", "b"):
        assert len(cache.get(token, 1, range(4), read)) == 4
        assert cache.byte_count <= 10_000
    assert len(asked) == 4  # a, b, c, and b again
    assert len(cache.get("d", 1, range(100), read)) == 100  # more than may be kept
    assert cache.byte_count <= 10_000
