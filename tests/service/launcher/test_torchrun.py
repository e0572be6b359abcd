"""torchrun under its wrapper: exit codes that say what happened, and a quiet end. Real torchrun, tiny ranks."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.launcher import torchrun
from tests.harness.forked import Process, StartPython
from tests.service.harness.children import is_running, pid_of, until

ROOT = Path(__file__).parents[3]
RANK = """
import os, pathlib, signal, sys, time
rank, folder, behaviour = os.environ["RANK"], pathlib.Path(sys.argv[1]), sys.argv[2]
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
(folder / f"{rank}.new").write_text(str(os.getpid()))
(folder / f"{rank}.new").rename(folder / f"{rank}.pid")
while behaviour == "wait": time.sleep(0.02)
if behaviour == "killed": os.kill(os.getpid(), signal.SIGKILL)
if behaviour == "miss":
    if rank == "1": sys.exit(2)
    while not (folder / "1.pid").exists(): time.sleep(0.001)
    other = pathlib.Path("/proc", (folder / "1.pid").read_text(), "stat")
    while ") Z " not in other.read_text(): time.sleep(0.001)
    sys.exit(1)
sys.exit(int(behaviour))
"""


def start(start_python: StartPython, folder: Path, behaviour: str, ranks: int = 1) -> Process:
    program = folder / "rank.py"
    program.write_text(RANK)
    launcher = [sys.executable, "-m", "service.launcher.torchrun", "--standalone", f"--nproc-per-node={ranks}"]
    with said(folder).open("w") as errors:
        return start_python(
            [*launcher, str(program), str(folder), behaviour],
            cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=errors,
        )  # fmt: skip


def said(folder: Path) -> Path:
    """What the launcher writes to stderr."""
    return folder / "said"


@pytest.mark.parametrize(
    ("behaviour", "code", "sentence"),
    [("0", 0, ""), ("2", 2, ""), ("killed", 137, "Error: rank 0 was ended by SIGKILL.\n")],
)
def test_the_exit_code_is_the_ranks_own(
    start_python: StartPython, tmp_path: Path, behaviour: str, code: int, sentence: str
) -> None:
    launcher = start(start_python, tmp_path, behaviour)

    assert (launcher.wait(timeout=60), said(tmp_path).read_text()) == (code, sentence)


def test_an_answer_of_one_rank_counts_more_than_the_end_of_those_that_miss_it(
    start_python: StartPython, tmp_path: Path
) -> None:
    launcher = start(start_python, tmp_path, "miss", ranks=2)

    assert (launcher.wait(timeout=60), said(tmp_path).read_text()) == (2, "")


def test_sigterm_ends_all_ranks_quietly_with_143(tmp_path: Path) -> None:
    launcher = start(subprocess.Popen, tmp_path, "wait", ranks=2)  # a new interpreter, as users start one
    ranks = [pid_of(tmp_path, "0"), pid_of(tmp_path, "1")]
    launcher.send_signal(signal.SIGTERM)

    assert (launcher.wait(timeout=60), said(tmp_path).read_text()) == (143, "")
    until(lambda: not any(is_running(pid) for pid in ranks))


def test_an_error_of_the_launcher_itself_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchrun, "LAUNCHER", "service.no_such_module")

    with pytest.raises(ImportError):
        torchrun.main()
