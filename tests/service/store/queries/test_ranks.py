"""The ranks' rows in the store."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from service.store.queries.ranks import RankRow
from service.store.store import Store, StoreUnavailableError
from tests.service.harness.locked import locked

FIRST = RankRow(0, 1000.5, "gpu-07", 4711, "cuda:0", "all-reduce", 512, 61.5, "  File …\n", 1000.25)
SECOND = replace(FIRST, rank=1, pid=4712, device="cuda:1", stage="data")
UNHEARD = RankRow(2, 990.0, None, None, None, "starting", None, 12.0, None, None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "leitstand.db"


@pytest.fixture
def store(location: Path | str) -> Iterator[Store]:
    store = Store(location, create=True, keep_open=True, busy_seconds=0.1)
    yield store
    store.close()


def test_a_run_has_no_rows_before_the_first_report(store: Store) -> None:
    assert store.ranks.find("run-1") == []


def test_rows_come_back_as_they_were_by_rank(store: Store) -> None:
    store.ranks.replace("run-1", [UNHEARD, SECOND, FIRST])

    assert store.ranks.find("run-1") == [FIRST, SECOND, UNHEARD]


def test_a_report_replaces_the_one_before_also_of_more_ranks(store: Store) -> None:
    store.ranks.replace("run-1", [FIRST, SECOND, UNHEARD])
    later = replace(FIRST, time=1001.5, stage="forward", stack=None, stacked_at=None)

    store.ranks.replace("run-1", [later])

    assert store.ranks.find("run-1") == [later]


def test_another_runs_rows_are_left_alone(store: Store) -> None:
    store.ranks.replace("run-1", [FIRST])

    store.ranks.replace("run-2", [SECOND])
    store.ranks.replace("run-2", [])

    assert store.ranks.find("run-1") == [FIRST]
    assert store.ranks.find("run-2") == []


def test_a_reader_sees_the_old_rows_or_the_new_never_a_mixture(store: Store, location: Path | str) -> None:
    old, new = [FIRST, SECOND], [replace(FIRST, step=513), replace(SECOND, step=513)]
    store.ranks.replace("run-1", old)
    ended = threading.Event()

    def write() -> None:
        for rows in [new, old] * 40:
            store.ranks.replace("run-1", rows)
        ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    reader = Store(location)
    seen = []
    while not ended.is_set():
        seen.append(reader.ranks.find("run-1"))
    writer.join()

    reader.close()
    assert seen
    assert all(rows in (old, new) for rows in seen)


def test_rows_can_be_part_of_a_larger_transaction(store: Store) -> None:
    def fail_half_way() -> None:
        with store.transaction_scope():
            store.ranks.replace("run-1", [FIRST])
            raise KeyError

    with pytest.raises(KeyError):
        fail_half_way()

    assert store.ranks.find("run-1") == []


def test_a_locked_store_is_said_and_keeps_what_it_has(path: Path) -> None:
    store = Store(path, create=True, keep_open=True, busy_seconds=0.1)
    store.ranks.replace("run-1", [FIRST])

    with locked(path), pytest.raises(StoreUnavailableError):
        store.ranks.replace("run-1", [SECOND])

    assert store.ranks.find("run-1") == [FIRST]
