"""Which partly written files a start removes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.run.claim import claim
from service.run.directory import RunDirectory

DEAD = 2**22 + 1
"""A process id that the kernel never gives."""


def start(root: Path) -> None:
    claim(RunDirectory(root), resume=True, fresh=False).lock.close()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name.startswith(".tmp-")}


@pytest.mark.parametrize(
    "name",
    [
        f".tmp-Statistik_500.json.{DEAD}", f".tmp-Statistik_500.json.{DEAD}.0a1b2c3d", f".tmp-config.json.{DEAD}",
        f".tmp-run.json.{DEAD}", f".tmp-probe.{DEAD}", f".tmp-Statistik_5.json.{os.getpid()}",
        ".tmp-Statistik_5.json.9999999999",
    ],
    ids=["record", "numbered", "settings", "identity", "probe", "own number", "no number"],
)  # fmt: skip
def test_what_a_killed_trainer_was_writing_is_removed_at_the_next_start(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"{")

    start(tmp_path)

    assert names(tmp_path) == set()


def test_partly_written_previews_are_removed_too(tmp_path: Path) -> None:
    folder = tmp_path / "previews" / "step_500"
    folder.mkdir(parents=True)
    for name in (f".tmp-city.webp.{DEAD}", f".tmp-notes.txt.{DEAD}", "city.webp"):
        (folder / name).touch()

    start(tmp_path)

    assert {path.name for path in folder.iterdir()} == {f".tmp-notes.txt.{DEAD}", "city.webp"}


@pytest.mark.parametrize(
    "name",
    [f".tmp-notes.txt.{DEAD}", f".tmp-Statistik_x.json.{DEAD}", ".tmp-Statistik_5.json", ".tmp-", f"run.json.{DEAD}"],
)
def test_what_no_trainer_writes_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()

    start(tmp_path)

    assert (tmp_path / name).exists()


def test_what_a_living_process_writes_stays(tmp_path: Path) -> None:
    """As a download of a record into the run directory."""
    program = "import os, sys; f = open(sys.argv[1] + str(os.getpid()), 'w'); print(f.name, flush=True); input()"
    command = [sys.executable, "-c", program, str(tmp_path / ".tmp-Statistik_500.json.")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as living:
        assert living.stdout is not None
        name = Path(living.stdout.readline().strip()).name
        start(tmp_path)
        assert names(tmp_path) == {name}
        living.communicate()

    start(tmp_path)

    assert names(tmp_path) == set()


def test_a_number_that_another_process_has_now_keeps_nothing(tmp_path: Path) -> None:
    """In a container, processes get the same numbers at every start."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        (tmp_path / f".tmp-Statistik_500.json.{other.pid}").touch()
        start(tmp_path)
        other.communicate()

    assert names(tmp_path) == set()


def test_a_start_that_is_refused_removes_nothing(tmp_path: Path) -> None:
    (tmp_path / "training.log").touch()
    (tmp_path / f".tmp-run.json.{DEAD}").touch()

    with pytest.raises(Exception, match="already holds a run"):
        claim(RunDirectory(tmp_path), resume=False, fresh=False)

    assert names(tmp_path) == {f".tmp-run.json.{DEAD}"}
