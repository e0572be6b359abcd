"""The lock on a run directory, whose file somebody removes or replaces under its holder."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.run import lock
from service.run.lock import LAUNCH_MARK, LockState, LockWatch, RunLock, is_launching, launch_mark, take_lock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".lock"


@pytest.fixture
def held(path: Path) -> Iterator[RunLock]:
    taken = take_lock(path, 0.0)
    assert taken is not None
    yield taken
    taken.close()


def test_a_lock_that_nobody_touches_is_held_and_names_its_holder(path: Path, held: RunLock) -> None:
    assert held.check() is LockState.HELD
    assert take_lock(path, 0.0) is None
    assert held.holder() == f"{socket.gethostname()}, process {os.getpid()}"


@pytest.mark.parametrize("how", ["removed", "replaced", "emptied"])
def test_a_lock_whose_file_was_removed_is_locked_again_before_anybody_else_can(
    path: Path, held: RunLock, how: str
) -> None:
    if how == "emptied":
        path.write_text("")
    else:
        path.unlink()
    if how == "replaced":
        path.touch()

    assert held.check() is (LockState.HELD if how == "emptied" else LockState.RENEWED)

    assert take_lock(path, 0.0) is None
    assert held.check() is LockState.HELD


def test_a_lock_that_another_has_taken_is_lost_and_says_to_whom(path: Path, held: RunLock) -> None:
    path.unlink()
    other = take_lock(path, 0.0)
    assert other is not None

    assert held.check() is LockState.TAKEN
    assert other.check() is LockState.HELD
    other.close()


def test_a_directory_that_is_away_is_not_taken_for_anothers(tmp_path: Path, path: Path, held: RunLock) -> None:
    tmp_path.rename(tmp_path.with_name("elsewhere"))

    assert held.check() is LockState.HELD

    tmp_path.with_name("elsewhere").rename(tmp_path)
    assert held.check() is LockState.HELD


def test_a_file_system_that_gives_the_file_another_number_takes_no_lock_away(
    path: Path, held: RunLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "samestat", lambda *_: False)

    assert held.check() is LockState.HELD


def test_what_has_become_of_a_lock_is_told_once(path: Path) -> None:
    held, told = take_lock(path, 0.0), []
    watch = LockWatch(held, on_renewed=lambda: told.append("renewed"), on_taken=lambda holder: told.append(holder))
    watch.check_if_due(0.0)
    for _ in range(2):
        path.unlink()
        assert watch.is_held()
    path.unlink()
    other = take_lock(path, 0.0)
    watch.check_if_due(lock.CHECK_SECONDS / 2)
    assert told == ["renewed"]
    watch.check_if_due(lock.CHECK_SECONDS)
    assert other is not None
    assert held is not None
    other.close()
    held.close()

    assert not watch.is_held()
    assert told == ["renewed", f"{socket.gethostname()}, process {os.getpid()}"]


def test_without_a_lock_there_is_nothing_to_lose() -> None:
    assert LockWatch(None, on_renewed=lambda: None, on_taken=lambda _: None).is_held()


def test_a_pipe_in_the_place_of_the_lock_is_an_error_and_not_waited_for(path: Path) -> None:
    os.mkfifo(path)

    with pytest.raises(OSError, match="it is a pipe that nobody reads"):
        take_lock(path, 0.0)


def test_a_pipe_that_takes_the_place_of_a_held_lock_leaves_it_held(path: Path, held: RunLock) -> None:
    path.unlink()
    os.mkfifo(path)

    assert held.check() is LockState.HELD


def test_a_launch_shows_for_as_long_as_its_process_marks_it(tmp_path: Path) -> None:
    assert not is_launching(tmp_path)

    with launch_mark(tmp_path):
        assert is_launching(tmp_path)
        with launch_mark(tmp_path):  # of another launcher
            assert is_launching(tmp_path)

    assert not is_launching(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_mark_of_a_launcher_that_was_killed_says_nothing(tmp_path: Path) -> None:
    (tmp_path / LAUNCH_MARK).touch()

    assert not is_launching(tmp_path)
    with launch_mark(tmp_path):
        assert is_launching(tmp_path)


def test_where_no_mark_can_be_made_a_training_is_launched_all_the_same(tmp_path: Path) -> None:
    with launch_mark(tmp_path / "missing"):
        assert not is_launching(tmp_path / "missing")
