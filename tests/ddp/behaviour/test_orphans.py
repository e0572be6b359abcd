"""No process of a training outlives the one that started it, however early that is killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from service.launcher.parent_death import LAUNCHER_PID
from tests.service.harness.children import is_running, pid_of, until

ROOT = Path(__file__).parents[3]
NOBODY = 2**22 + 1
"""A process id that the kernel never gives."""
HOLDS_RANKS = """
import os, pathlib, sys, time

class Holding:
    \"\"\"Holds a rank where it imports torch.\"\"\"
    def find_spec(self, name, *_):
        if name == "torch":
            folder, rank = pathlib.Path(os.environ["TEST_FOLDER"]), os.environ["RANK"]
            (folder / f"{rank}.new").write_text(str(os.getpid()))
            (folder / f"{rank}.new").rename(folder / f"{rank}.pid")
            while True: time.sleep(0.01)

if "RANK" in os.environ: sys.meta_path.insert(0, Holding())
"""
RANK_WITH_HANGING_LOADER = """
import os, pathlib, sys, time
from ddp.vsr.sample_stream import PositionSampler, build_loader
folder = pathlib.Path(sys.argv[1])

class Hanging:
    \"\"\"Data on a disk that does not answer.\"\"\"
    def __getitem__(self, position):
        (folder / "loader.new").write_text(str(os.getpid()))
        (folder / "loader.new").rename(folder / "loader.pid")
        while True: time.sleep(0.01)

sampler = PositionSampler(rank=0, world_size=1, batch_size=1)
next(iter(build_loader(Hanging(), sampler, num_workers=1, pin_memory=False, seed=0)))
"""


@pytest.fixture
def pids(tmp_path: Path) -> Iterator[Path]:
    """A folder where processes report their ids; those that still run at the end of the test are killed."""
    yield tmp_path
    for file in tmp_path.glob("*.pid"):
        with suppress(ProcessLookupError):
            os.kill(int(file.read_text()), signal.SIGKILL)


@pytest.mark.parametrize("launcher", ["service.launcher.torchrun", "torch.distributed.run"])
def test_ranks_whose_launcher_is_killed_while_they_import_torch_end_with_it(pids: Path, launcher: str) -> None:
    (pids / "sitecustomize.py").write_text(HOLDS_RANKS)
    command = [sys.executable, "-m", launcher, "--standalone", "--nproc-per-node=2", "-m", "ddp"]
    environment = {**os.environ, "PYTHONPATH": f"{pids}:{ROOT}", "TEST_FOLDER": str(pids), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    ranks = [pid_of(pids, rank, seconds=60) for rank in ("0", "1")]

    process.kill()
    process.wait(30)

    until(lambda: not any(is_running(pid) for pid in ranks))


def test_a_rank_whose_launcher_was_gone_before_it_began_ends_before_it_imports_torch(pids: Path) -> None:
    (pids / "sitecustomize.py").write_text(HOLDS_RANKS)
    environment = {**os.environ, "PYTHONPATH": f"{pids}:{ROOT}", "TEST_FOLDER": str(pids)}
    environment |= {"RANK": "0", LAUNCHER_PID: str(NOBODY)}

    rank = subprocess.run([sys.executable, "-m", "ddp"], cwd=ROOT, env=environment, check=False, timeout=60)

    assert rank.returncode == 143
    assert not (pids / "0.pid").exists()


def test_a_loader_that_hangs_in_a_read_ends_with_its_rank(pids: Path) -> None:
    rank = subprocess.Popen([sys.executable, "-c", RANK_WITH_HANGING_LOADER, str(pids)], cwd=ROOT)
    loader = pid_of(pids, "loader", seconds=60)

    rank.kill()
    rank.wait(30)

    until(lambda: not is_running(loader))
