"""torchrun under its wrapper: exit codes that say what happened, and a quiet end. Real torchrun, tiny ranks."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.launcher import torchrun
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
sys.exit(int(behaviour))
"""


def start(folder: Path, behaviour: str, ranks: int = 1) -> subprocess.Popen[str]:
    program = folder / "rank.py"
    program.write_text(RANK)
    launcher = [sys.executable, "-m", "service.launcher.torchrun", "--standalone", f"--nproc-per-node={ranks}"]
    return subprocess.Popen(
        [*launcher, str(program), str(folder), behaviour],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("behaviour", "code", "said"),
    [("0", 0, ""), ("2", 2, ""), ("killed", 137, "Error: rank 0 was ended by SIGKILL.\n")],
)
def test_the_exit_code_is_the_ranks_own(tmp_path: Path, behaviour: str, code: int, said: str) -> None:
    with start(tmp_path, behaviour) as launcher:
        _, errors = launcher.communicate(timeout=60)

    assert (launcher.returncode, errors) == (code, said)


def test_sigterm_ends_all_ranks_quietly_with_143(tmp_path: Path) -> None:
    with start(tmp_path, "wait", ranks=2) as launcher:
        ranks = [pid_of(tmp_path, "0"), pid_of(tmp_path, "1")]
        launcher.send_signal(signal.SIGTERM)
        _, errors = launcher.communicate(timeout=60)

    assert (launcher.returncode, errors) == (143, "")
    until(lambda: not any(is_running(pid) for pid in ranks))


def test_an_error_of_the_launcher_itself_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchrun, "LAUNCHER", "service.no_such_module")

    with pytest.raises(ImportError):
        torchrun.main()
