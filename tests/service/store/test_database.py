"""Transactions and scopes of a store, apart from its queries."""

import sqlite3
from pathlib import Path

import pytest

from service.store.store import Store, StoreUnavailableError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with one run, which nobody has open."""
    path = tmp_path / "a folder" / "leit#stand?.db"
    path.parent.mkdir()
    store = Store(path, create=True)
    store.open_run("run", {"MAX_STEPS": 5})
    store.close()
    return path


def test_reading_without_locks_finds_the_same_and_leaves_no_file_beside_the_store(path: Path) -> None:
    before = sorted(path.parent.iterdir())
    store = Store(path)

    with store.unlocked_scope():
        row = store.runs.get("run")
        events = store.events.find("run", 0, 10)

    assert sorted(path.parent.iterdir()) == before
    assert row == store.runs.get("run")
    assert events == store.events.find("run", 0, 10)


def test_nothing_can_be_written_without_locks(path: Path) -> None:
    store = Store(path)

    with pytest.raises(StoreUnavailableError), store.unlocked_scope():
        store.runs.update("run", step=7)

    row = store.runs.get("run")
    assert row is not None
    assert row.step == 0


def test_a_store_of_an_earlier_version_is_not_read_without_locks_but_upgraded_with_them(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE runs DROP COLUMN facts")
    connection.close()
    store = Store(path)

    with pytest.raises(StoreUnavailableError), store.unlocked_scope():
        store.runs.get("run")

    row = store.runs.get("run")
    assert row is not None
    assert row.facts is None


def test_a_server_is_never_read_without_locks(store_url: str) -> None:
    with pytest.raises(StoreUnavailableError), Store(store_url).unlocked_scope():
        pass


def test_a_file_with_a_missing_index_is_upgraded(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        (name,) = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL LIMIT 1"
        ).fetchone()
        connection.execute(f"DROP INDEX {name}")

    Store(path).runs.get("run")

    assert connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", [name]).fetchone() is not None
    connection.close()
