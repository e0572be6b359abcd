"""Whose folders in shared memory are whose, and which are removed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.launcher.ranks import shared_states
from service.launcher.ranks.shared_states import LAUNCH, launch_id, remove_abandoned, remove_of_launch, states_folder


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shared_states, "SHARED_MEMORY", tmp_path)
    return tmp_path


def make(folder: Path | None) -> Path:
    assert folder is not None
    (folder / "0-1").mkdir(parents=True)
    return folder


def test_a_folder_is_of_one_run_and_one_launch(memory: Path) -> None:
    ours = states_folder("run-1", {LAUNCH: launch_id(41)})

    assert ours == memory / f"leitstand-run-1-{launch_id(41)}"
    assert states_folder("run-1", {}) == memory / f"leitstand-run-1-{launch_id(os.getppid())}"
    assert states_folder("run-2", {LAUNCH: launch_id(41)}) != ours != states_folder("run-1", {LAUNCH: launch_id(42)})


def test_without_shared_memory_there_is_none(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_states, "SHARED_MEMORY", memory / "away")
    assert states_folder("run-1", {}) is None
    remove_abandoned()

    monkeypatch.setattr(sys, "platform", "darwin")
    assert states_folder("run-1", {}) is None
    remove_of_launch("1.1")


def test_a_launcher_removes_what_is_left_of_its_own_ranks(memory: Path) -> None:
    own, other = (make(states_folder("run", {LAUNCH: launch_id(pid)})) for pid in (7, 17))

    remove_of_launch(launch_id(7))

    assert not own.exists()
    assert other.exists()


def test_a_start_removes_what_is_left_of_launchers_that_are_gone_and_nothing_else(memory: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    gone = make(states_folder("run", {LAUNCH: launch_id(ended.pid)}))
    kept = [
        make(states_folder("run", {LAUNCH: launch_id(os.getpid())})),
        make(memory / f"leitstand-run-1.{ended.pid}"),  # of another container: its processes are not seen here
        make(memory / "leitstand-of-something-else"),
        make(memory / "something"),
    ]

    remove_abandoned()

    assert not gone.exists()
    assert all(folder.exists() for folder in kept)
