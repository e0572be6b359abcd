"""States that ranks leave in shared memory: the newest whole one of this world is found, everything else is refused."""

import logging
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ddp.checkpoint import survivor_states
from ddp.checkpoint.survivor_states import SurvivorStates

Usage = namedtuple("Usage", "total used free")


def state(step: int, world_size: int = 2) -> dict[str, Any]:
    return {"progress": {"step": step}, "world_size": world_size, "weights": torch.full((64,), float(step))}


def step_of(states: SurvivorStates, world_size: int = 2, at_least: int = 0) -> int | None:
    found = states.newest(world_size, at_least)
    return None if found is None else int(found.state["progress"]["step"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "left"


def test_the_newest_state_is_found_whichever_rank_left_it(folder: Path) -> None:
    states = SurvivorStates(folder, 0)
    assert states.newest(2, 0) is None

    assert states.leave(2, 7, state(7))
    assert states.leave(1, 8, state(8))

    assert step_of(SurvivorStates(folder, 1)) == 8
    assert (folder.stat().st_mode & 0o777) == 0o700


def test_one_copy_is_enough_but_rank_0_which_holds_more_leaves_its_own_and_that_one_is_taken(folder: Path) -> None:
    states = SurvivorStates(folder, 0)

    assert states.leave(1, 7, {**state(7), "by": 1})
    assert not states.leave(2, 7, {**state(7), "by": 2})
    assert states.leave(0, 7, {**state(7), "by": 0})

    found = states.newest(2, 0)
    assert found is not None
    assert found.state["by"] == 0


def tear(path: Path) -> None:
    file = path / "state.pt"
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        pytest.param(tear, "state.pt is not what its manifest says", id="torn"),
        pytest.param(lambda path: (path / "manifest.json").unlink(), "manifest.json", id="unfinished"),
        pytest.param(lambda path: shutil.copytree(path, path.with_name("step_0000099")), "says step 9", id="renamed"),
    ],
)
def test_a_damaged_state_is_named_and_the_one_before_serves(
    folder: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], object], reason: str
) -> None:
    states = SurvivorStates(folder, 0)
    states.leave(1, 8, state(8))
    states.leave(0, 9, state(9))
    damage(folder / "0-0" / "step_0000009")

    with caplog.at_level(logging.WARNING):
        found = step_of(states)

    assert found == (9 if reason == "says step 9" else 8)
    assert reason in caplog.text


@pytest.mark.parametrize(
    ("world_size", "at_least", "reason"),
    [
        pytest.param(3, 0, "it is of 2 ranks, this start has 3", id="other world"),
        pytest.param(2, 10, "step_0000010 is on disk", id="older than a checkpoint"),
    ],
)
def test_a_state_that_does_not_belong_here_is_refused_with_the_reason(
    folder: Path, caplog: pytest.LogCaptureFixture, world_size: int, at_least: int, reason: str
) -> None:
    states = SurvivorStates(folder, 0)
    states.leave(1, 9, state(9))

    with caplog.at_level(logging.WARNING):
        assert step_of(states, world_size, at_least) is None

    assert f"The state step_0000009 that rank 1 left cannot be used: {reason}." in caplog.text


def test_shared_memory_without_enough_room_is_refused_before_anything_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survivor_states.shutil, "disk_usage", lambda _: Usage(64 << 20, 57 << 20, 7 << 20))

    with pytest.raises(OSError, match="7 MiB free, of which 1 MiB are needed and 8 MiB stay free"):
        SurvivorStates(folder, 0).leave(1, 9, state(9))

    assert list(folder.iterdir()) == []


def test_a_write_that_fails_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(survivor_states, "write_state", fail)

    with pytest.raises(OSError, match="No space left"):
        SurvivorStates(folder, 0).leave(1, 9, state(9))

    assert list(folder.iterdir()) == []


def test_a_folder_of_somebody_else_is_neither_written_nor_read(folder: Path, tmp_path: Path) -> None:
    other = SurvivorStates(tmp_path / "elsewhere", 0)
    other.leave(1, 9, state(9))
    folder.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(PermissionError, match="is not a folder of this user"):
        SurvivorStates(folder, 0).leave(1, 10, state(10))
    assert step_of(SurvivorStates(folder, 0)) is None


HOLD_LOCK = """
import fcntl, os, sys
descriptor = os.open(sys.argv[1], os.O_RDONLY)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_rank_that_is_killed_while_it_writes_does_not_hold_up_the_others(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / ".tmp-0-1" / "step_0000009").mkdir(parents=True)
    command = [sys.executable, "-c", HOLD_LOCK, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "held\n"
        writer.kill()
        writer.wait()

    assert SurvivorStates(folder, 0).leave(2, 9, state(9))
    assert step_of(SurvivorStates(folder, 0)) == 9


def test_a_lock_that_is_never_freed_is_not_waited_for_without_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survivor_states, "LOCK_SECONDS", 0.05)
    folder.mkdir(mode=0o700)
    command = [sys.executable, "-c", HOLD_LOCK, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "held\n"

        with pytest.raises(TimeoutError, match="another rank has been writing"):
            SurvivorStates(folder, 0).leave(2, 9, state(9))
        writer.kill()


def test_states_of_earlier_starts_go_and_those_of_this_one_stay(folder: Path) -> None:
    SurvivorStates(folder, 0).leave(0, 9, state(9))
    (folder / ".tmp-0-1").mkdir()
    SurvivorStates(folder, 1).leave(1, 12, state(12))

    SurvivorStates(folder, 1).remove_earlier()
    assert os.listdir(folder) == ["1-1"]

    SurvivorStates(folder, 2).remove_earlier()
    assert not folder.exists()
    SurvivorStates(folder, 2).remove_earlier()
