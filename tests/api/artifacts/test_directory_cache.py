"""A folder that is read again only after it changed."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from api.artifacts import directory_cache
from api.artifacts.directory_cache import DirectoryCache


class Reader:
    """Lists a folder, and counts how often."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, folder: Path) -> list[str]:
        self.count += 1
        return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def context() -> Reader:
    return Reader()


@pytest.fixture
def watched(tmp_path: Path, context: Reader) -> DirectoryCache[list[str]]:
    return DirectoryCache(tmp_path / "folder", context, [])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder


def test_a_folder_that_is_not_there_has_the_absent_value(watched: DirectoryCache[list[str]], tmp_path: Path) -> None:
    assert watched.current() == []

    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").touch()
    assert watched.current() == ["a"]

    (tmp_path / "folder" / "a").unlink()
    (tmp_path / "folder").rmdir()
    assert watched.current() == []


def test_an_old_folder_is_read_once(
    watched: DirectoryCache[list[str]], context: Reader, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_cache, "SKEW_SECONDS", -1.0)

    assert [watched.current(), watched.current()] == [[], []]
    assert context.count == 1

    (folder / "a").touch()

    assert [watched.current(), watched.current()] == [["a"], ["a"]]
    assert context.count == 2


def test_a_folder_that_changed_just_now_is_read_until_another_change_would_show(
    watched: DirectoryCache[list[str]], context: Reader, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.current()
    watched.current()
    assert context.count == 2

    monkeypatch.setattr(directory_cache, "TIMESTAMP_GRANULARITY_SECONDS", 0.0)

    watched.current()
    watched.current()
    assert context.count == 3


def test_a_change_that_leaves_the_same_time_is_seen(context: Reader, folder: Path) -> None:
    watched = DirectoryCache(folder, context, [], stamp=lambda _folder: (1, 1, 0, 2**62))
    assert watched.current() == []

    (folder / "a").touch()

    assert watched.current() == ["a"]


def test_those_who_wait_for_a_reading_share_the_next_one(
    tmp_path: Path, folder: Path, eventually: Callable[..., None]
) -> None:
    may_read, waiting = threading.Event(), 8
    began: list[int] = []

    def read(folder: Path) -> int:
        began.append(1)
        may_read.wait(30)
        return len(began)

    watched = DirectoryCache(folder, read, 0)
    asking = [threading.Thread(target=watched.current) for _ in range(waiting)]
    asking[0].start()
    eventually(lambda: began, what="the first reading")
    for thread in asking[1:]:
        thread.start()
    eventually(lambda: threading.active_count() > waiting, what="all threads")
    may_read.set()
    for thread in asking:
        thread.join()

    assert len(began) <= 3


def test_a_folder_that_cannot_be_read_is_no_empty_one(folder: Path) -> None:
    def refuse(folder: Path) -> int:
        raise PermissionError(13, "Permission denied")

    watched = DirectoryCache(folder, refuse, 0)

    for _ in range(2):
        with pytest.raises(PermissionError):
            watched.current()
