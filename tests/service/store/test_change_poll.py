"""When a reader of the store looks again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.store.change_poll import ChangePoller
from service.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "leitstand.db", create=True, keep_open=True)
    store.open_run("run-1", {})
    yield store
    store.close()


@pytest.fixture(autouse=True)
def _whole_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.store.change_poll.PAUSES_SECONDS", (2.0, 100.0))


def looks(watch: ChangePoller, first: int, last: int) -> list[int]:
    """The seconds from `first` to before `last` at which it is time to look."""
    return [moment for moment in range(first, last) if watch.is_due(moment)]


def test_the_first_look_is_due_at_once(store: Store) -> None:
    assert ChangePoller(store, "run-1").is_due(0.0)


def test_after_a_change_looks_come_at_once_and_then_ever_more_rarely_but_for_ever(store: Store) -> None:
    watch = ChangePoller(store, "run-1")
    looks(watch, 0, 1000)

    store.events.add("run-1", 1, "something", {})

    assert looks(watch, 1000, 1500) == [1000, 1002, 1008, 1026, 1080, 1180, 1280, 1380, 1480]


def test_a_later_change_is_looked_at_without_a_pause(store: Store) -> None:
    watch = ChangePoller(store, "run-1")
    looks(watch, 0, 500)
    assert not watch.is_due(500)

    store.events.add("run-1", 1, "something", {})

    assert watch.is_due(500.5)
    assert not watch.is_due(500.6)


def test_a_store_that_tells_of_what_can_be_read_is_looked_into_once_and_then_rarely(store: Store) -> None:
    class Told(Store):
        shows_writes_early = False

    told = Told(Path(store.location))
    watch = ChangePoller(told, "run-1")

    assert looks(watch, 0, 400) == [0, 100, 200, 300]
    store.events.add("run-1", 1, "something", {})
    assert looks(watch, 400, 700) == [400, 500, 600]


def test_a_store_that_is_absent_is_looked_for_as_rarely(tmp_path: Path) -> None:
    watch = ChangePoller(Store(tmp_path / "absent.db"), "run-1")

    assert looks(watch, 0, 40) == [0, 2, 8, 26]
