"""Rollups that miss or disagree with their log points: made anew at the next start, whoever spoiled them."""

import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from service.store import tables
from service.store.rollups import repair
from service.store.store import SeriesRow, Store
from service.store.tables import series_progress, series_summaries
from tests.service.harness.old_store import write_store_without_owners

RUN = "run-1"
END = 1000
Eventually = Callable[..., None]


def point(step: int) -> SeriesRow:
    return SeriesRow(step, float(step), {"loss": math.sin(step), "quality": step % 7 / 3 if step % 3 else None})


def add(store: Store, steps: range) -> None:
    for step in steps:
        store.series.add(RUN, [point(step)])


@pytest.fixture
def store(location: Path | str) -> Iterator[Store]:
    """A store with a thousand log points."""
    with closing(Store(location, create=True, keep_open=True)) as store:
        store.open_run(RUN, {})
        store.series.add(RUN, [point(step) for step in range(END)])
        yield store


def rollups(store: Store, run_id: str = RUN) -> dict[tuple[int, int], tuple[list[str], bytes]]:
    with store.transaction() as connection:
        rows = connection.execute(sa.select(series_summaries).where(series_summaries.c.run_id == run_id))
        return {(row.level, row.bucket): (row.names, bytes(row.stretches)) for row in rows}


def progress(store: Store) -> tuple[int, list[str], int | None]:
    with store.transaction() as connection:
        row = connection.execute(sa.select(series_progress).where(series_progress.c.run_id == RUN)).one()
        return row.summarised_to, sorted(row.names), row.rollup_version


def execute(store: Store, *statements: Any) -> None:
    with store.transaction() as connection:
        for statement in statements:
            connection.execute(statement)


def assert_history_is_that_of_the_log_points(store: Store, run_id: str = RUN) -> None:
    points = store.series.find(run_id)
    found = store.series.envelope(run_id, ["loss", "quality"], 0, points[-1].step, 10)
    for name, buckets in found.items():
        values = [value for row in points if (value := row.values.get(name)) is not None]
        assert sum(bucket.count for bucket in buckets) == len(values)
        assert math.isclose(sum(bucket.total for bucket in buckets), math.fsum(values), abs_tol=1e-9)
        assert (min(it.low for it in buckets), max(it.high for it in buckets)) == (min(values), max(values))


@contextmanager
def before_statements(act: Callable[[str], None]) -> Iterator[None]:
    """Call `act` with the text of each statement, in its thread, before a database gets it."""

    def listen(*arguments: Any) -> None:
        act(arguments[2])

    sa.event.listen(sa.Engine, "before_cursor_execute", listen)
    try:
        yield
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", listen)


def test_two_trainers_of_one_run_refuse_each_other_no_log_point_and_leave_right_rollups(
    store_url: str, eventually: Eventually
) -> None:
    """One has read how far the rollups reach and is about to write it back, when the other wants to move it on."""
    with closing(Store(store_url, keep_open=True)) as ahead, closing(Store(store_url, keep_open=True)) as behind:
        ahead.open_run(RUN, {})
        add(ahead, range(127))
        has_read, may_write = threading.Event(), threading.Event()

        def hesitate(statement: str) -> None:
            is_slow = threading.current_thread().name.startswith("behind")
            if is_slow and statement.startswith("UPDATE series_progress"):
                has_read.set()
                may_write.wait(30)

        with (
            before_statements(hesitate),
            ThreadPoolExecutor(1, "behind") as slow,
            ThreadPoolExecutor(1, "ahead") as fast,
        ):
            late = slow.submit(behind.series.add, RUN, [SeriesRow(5, 1.0, {"late": 1.0})])
            assert has_read.wait(30)
            moved_on = fast.submit(add, ahead, range(127, 200))
            eventually(lambda: moved_on.done() or is_waiting_for_lock(store_url), what="the other trainer's turn")
            may_write.set()
            late.result(30)
            moved_on.result(30)
        add(ahead, range(200, 400))
        add(behind, range(400, 600))

        assert len(ahead.series.find(RUN)) == 600
        assert ahead.series.names(RUN) == ["late", "loss", "quality"]
        assert_history_is_that_of_the_log_points(ahead)
        assert not ahead.series.repair_rollups(RUN)


def is_waiting_for_lock(url: str) -> bool:
    with psycopg.connect(url) as connection:
        query = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        return connection.execute(query).fetchone() is not None


def test_a_rollup_that_is_there_already_keeps_no_log_point_away(store: Store) -> None:
    """As an earlier version left it: what is rolled up is said to reach less far than the rollups do."""
    execute(store, sa.update(series_progress).values(summarised_to=512))

    add(store, range(END, END + 200))

    assert len(store.series.find(RUN)) == END + 200
    assert_history_is_that_of_the_log_points(store)


def of(level: int, bucket: int) -> sa.ColumnElement[bool]:
    return (series_summaries.c.level == level) & (series_summaries.c.bucket == bucket)


FOREIGN = sa.select(series_summaries.c.stretches).where(of(2, 3)).scalar_subquery()
SPOILED = {
    "one misses": sa.delete(series_summaries).where(of(3, 2)),
    "all miss": sa.delete(series_summaries),
    "one is another's": sa.update(series_summaries).where(of(2, 5)).values(stretches=FOREIGN),
    "one is damaged": sa.update(series_summaries).where(of(1, 5)).values(stretches=b"x" * 7),
    "they reach less far than said": sa.update(series_progress).values(summarised_to=1600),
    "they reach farther than said": sa.update(series_progress).values(summarised_to=512),
    "a name is not known": sa.update(series_progress).values(names={"loss": 0}),
    "nobody says how far they reach": sa.delete(series_progress),
    "a log point was added behind their back": sa.insert(tables.series).values(
        run_id=RUN, step=2, time=1.0, values={"loss": 99.0}
    ),
}


@pytest.mark.parametrize("how", [how for how in SPOILED if how != "a log point was added behind their back"])
@pytest.mark.parametrize("checked", [10_000, 100], ids=["every value compared", "counts compared"])
def test_a_start_makes_rollups_that_miss_or_disagree_anew(
    store: Store, how: str, checked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repair, "MAX_CHECKED_POINTS", checked)
    right, known = rollups(store), progress(store)
    execute(store, SPOILED[how])
    if checked == 100:  # a long run: so little is compared that what an earlier version wrote is never believed
        execute(store, sa.update(series_progress).values(rollup_version=None))

    store.open_run(RUN, {})

    assert_history_is_that_of_the_log_points(store)
    if checked == 100:
        assert progress(store)[0] < known[0]
        for step in range(END, END + 3):
            add(store, range(step, step + 1))  # each makes some more
        execute(store, sa.delete(tables.series).where(tables.series.c.step >= END))
    assert {key: rollups(store)[key] for key in right} == right
    assert progress(store) == known


def test_a_value_that_was_merged_in_behind_their_back_is_found(store: Store) -> None:
    merged = sa.update(tables.series).where(tables.series.c.step == 20).values(values={"loss": 99.0})
    execute(store, merged)

    store.open_run(RUN, {})

    assert max(bucket.high for bucket in store.series.envelope(RUN, ["loss"], 0, END, 10)["loss"]) == 99.0


def test_a_long_run_whose_rollups_are_whole_keeps_them(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "MAX_CHECKED_POINTS", 100)

    assert not store.series.repair_rollups(RUN)
    execute(store, sa.delete(series_summaries).where(of(3, 2)))
    assert store.series.repair_rollups(RUN)


def test_rollups_of_a_rolled_back_run_are_right_and_kept(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.series.add(RUN, [SeriesRow(5, 1.0, {"late": 1.0})])
    store.move_to_branch(RUN, 500, f"{RUN}-branch-0")
    add(store, range(501, 700))
    execute(store, sa.update(series_progress).values(rollup_version=None))
    before = rollups(store), rollups(store, f"{RUN}-branch-0")

    caplog.set_level("INFO")
    store.open_run(RUN, {})

    assert (rollups(store), rollups(store, f"{RUN}-branch-0")) == before
    assert progress(store)[2] is not None
    assert "made anew" not in caplog.text


def test_what_two_trainers_left_of_an_abandoned_branch_is_made_anew(store: Store) -> None:
    branch = f"{RUN}-branch-0"
    store.move_to_branch(RUN, 100, branch)
    right = rollups(store, branch)
    execute(
        store,
        sa.update(series_progress).values(rollup_version=None),
        sa.delete(series_summaries).where((series_summaries.c.run_id == branch) & of(1, 30)),
    )

    store.open_run(RUN, {})

    assert rollups(store, branch).keys() == right.keys()
    assert_history_is_that_of_the_log_points(store, branch)


def test_a_store_that_two_trainers_spoiled_under_an_earlier_version_is_healed_by_a_start(location: Path | str) -> None:
    with closing(Store(location, create=True)) as store:
        store.series.add(RUN, [point(step) for step in range(500)])
        points, whole = store.series.find(RUN), rollups(store)
        execute(store, *[sa.text(f"DROP TABLE {table}") for table in tables.metadata.tables])
    write_store_without_owners(location)
    with closing(Store(location, keep_open=True)) as store:
        rows = [{"run_id": RUN, "step": row.step, "time": row.time, "values": row.values} for row in points]
        summaries = [
            {"run_id": RUN, "level": level, "bucket": bucket, "names": names, "stretches": content}
            for (level, bucket), (names, content) in whole.items()
            if bucket != 3
        ]
        execute(store, sa.insert(tables.series).values(rows), sa.insert(series_summaries).values(summaries))
        execute(store, sa.insert(series_progress).values(run_id=RUN, summarised_to=64, names={}))

        store.open_run(RUN, {})

        assert rollups(store).keys() == whole.keys()
        assert progress(store) == (496, ["loss", "quality"], 1)
        add(store, range(500, 700))
        assert_history_is_that_of_the_log_points(store)
