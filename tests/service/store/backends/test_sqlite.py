"""Store files that this process may only read, as in an archive or of another user."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from service.commands import Kind
from service.store.backends.base import StoreReadOnlyError
from service.store.store import Store
from tests.harness.read_only import only_reading, readable_folder
from tests.service.harness.old_store import write_old_store, write_store_without_owners

RUN = "run-1"


@pytest.fixture
def folder() -> Iterator[Path]:
    with readable_folder() as folder:
        yield folder


def test_a_file_that_may_only_be_read_is_read_and_says_why_it_is_not_changed(folder: Path) -> None:
    with closing(Store(folder / "leitstand.db", create=True)) as store:
        store.open_run(RUN, {"SCALE": 3})
    files = sorted(folder.iterdir())

    with only_reading(folder), closing(Store(folder / "leitstand.db")) as store:
        assert (run := store.runs.get(RUN)) is not None
        assert run.config == {"SCALE": 3}
        with pytest.raises(StoreReadOnlyError, match="can only be read"):
            store.runs.describe(RUN, {"name": "deeper"}, actor="eva", source="cli")
        with pytest.raises(StoreReadOnlyError, match="can only be read"):
            store.commands.submit(RUN, Kind.PAUSE, {}, actor="eva", source="cli")
        assert sorted(folder.iterdir()) == files


@pytest.mark.parametrize("write", [write_old_store, write_store_without_owners])
def test_a_file_of_an_earlier_version_that_may_only_be_read_shows_what_it_lacks_as_null(
    folder: Path, write: object
) -> None:
    assert callable(write)
    write(folder / "leitstand.db")
    before = (folder / "leitstand.db").read_bytes()

    with only_reading(folder), closing(Store(folder / "leitstand.db")) as store:
        assert (run := store.runs.get(RUN)) is not None
        assert (run.step, run.name, run.note, run.start_number) == (120, None, None, None)
        assert [command.why for command in store.commands.find(RUN)] in ([], [None])
        assert store.ranks.find(RUN) == []
    assert (folder / "leitstand.db").read_bytes() == before


def test_a_file_becomes_writable_later(folder: Path) -> None:
    write_old_store(folder / "leitstand.db")
    with closing(Store(folder / "leitstand.db")) as store:
        with only_reading(folder):
            assert store.runs.get(RUN) is not None

        assert store.runs.describe(RUN, {"name": "deeper"}, actor="eva", source="cli") is not None
        assert (run := store.runs.get(RUN)) is not None
        assert run.name == "deeper"


def test_a_file_that_another_user_writes_is_followed(folder: Path) -> None:
    with closing(Store(folder / "leitstand.db", create=True, keep_open=True)) as writer:
        writer.open_run(RUN, {})
        with only_reading(folder), closing(Store(folder / "leitstand.db")) as reader:
            assert (run := reader.runs.get(RUN)) is not None
            assert run.step == 0
            writer.runs.update(RUN, step=7)  # over the connection that is open already
            assert (run := reader.runs.get(RUN)) is not None
            assert run.step == 7
