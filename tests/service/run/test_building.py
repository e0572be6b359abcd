"""What a killed process leaves beside what it was making is removed by the next; what another one makes stays."""

import subprocess
import sys
from pathlib import Path

import pytest

from service.run.building import building_folder, finish
from tests.service.harness.children import until

ROOT = Path(__file__).parents[3]
BUILDS = """
import sys, time
from pathlib import Path
from service.run.building import building_folder
with building_folder(Path(sys.argv[1])) as folder:
    (folder / "patch.png").write_bytes(b"x")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def builder(tmp_path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", BUILDS, str(tmp_path / "set")]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_the_folder_of_a_killed_preparation_goes_and_that_of_a_living_one_stays(
    tmp_path: Path, builder: subprocess.Popen[str]
) -> None:
    assert builder.stdout is not None
    theirs = Path(builder.stdout.readline().strip())
    with building_folder(tmp_path / "set"):
        assert (theirs / "patch.png").exists()

    builder.kill()
    builder.communicate()
    until(lambda: builder.poll() is not None)
    with building_folder(tmp_path / "set") as ours:
        assert list(tmp_path.iterdir()) == [ours]


def test_what_may_be_anybodys_stays(tmp_path: Path) -> None:
    others = {".tmp-set.123", ".tmp-other.123.0a1b2c3d", ".tmp-set.123.0a1b2c3d", "set.123.0a1b2c3d", ".tmp-set.x"}
    for name in others:
        (tmp_path / name).mkdir()
    (tmp_path / ".tmp-other.123.0a1b2c3d" / ".lock").touch()

    with building_folder(tmp_path / "set"):
        pass

    assert {path.name for path in tmp_path.iterdir()} == others


def test_a_finished_set_holds_nothing_but_itself(tmp_path: Path) -> None:
    with building_folder(tmp_path / "set") as folder:
        (folder / "dataset.json").touch()
        finish(folder, tmp_path / "set")

    assert [path.name for path in (tmp_path / "set").iterdir()] == ["dataset.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
