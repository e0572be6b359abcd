"""Imports that the garbage collector leaves alone."""

import gc
from collections.abc import Iterator

import pytest

from service.launcher.imports import without_collection


@pytest.fixture(autouse=True)
def _collection() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


def test_nothing_is_collected_within_and_what_was_made_is_left_alone_afterwards() -> None:
    with without_collection():
        assert not gc.isenabled()
        made = [[index] for index in range(1000)]

    assert gc.isenabled()
    assert gc.get_freeze_count() >= len(made)


def test_collecting_goes_on_after_an_import_that_fails() -> None:
    with pytest.raises(ModuleNotFoundError), without_collection():
        import service.no_such_module  # noqa: F401

    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()

    with without_collection():
        pass

    assert not gc.isenabled()
