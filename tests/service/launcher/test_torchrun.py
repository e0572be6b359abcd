"""torchrun under its wrapper: exit codes that say what happened, and a quiet end. Real torchrun, tiny ranks."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from service.launcher import torchrun
from service.launcher.termination import DUPLICATE_SECONDS
from tests.harness.forked import Process, StartPython
from tests.service.harness.children import is_running, pid_of, until

ROOT = Path(__file__).parents[3]
RANK = """
import os, pathlib, signal, sys, time
rank, folder, behaviour = os.environ["RANK"], pathlib.Path(sys.argv[1]), sys.argv[2]
def leave(*_):
    (folder / f"{rank}.asked").touch()
    while behaviour == "save" and not (folder / "saved").exists(): time.sleep(0.01)
    sys.exit(143)
for number in (signal.SIGTERM, signal.SIGINT): signal.signal(number, leave)
(folder / f"{rank}.new").write_text(str(os.getpid()))
(folder / f"{rank}.new").rename(folder / f"{rank}.pid")
while behaviour in ("wait", "save"): time.sleep(0.02)
if behaviour == "killed": os.kill(os.getpid(), signal.SIGKILL)
if behaviour.startswith("once"):
    first = not (folder / f"{rank}.begun").exists()
    (folder / f"{rank}.begun").touch()
    if first: os.kill(os.getpid(), int(behaviour.removeprefix("once"))) if behaviour != "once1" else sys.exit(1)
    sys.exit(0)
if behaviour in ("miss", "missed"):
    last = str(int(os.environ["WORLD_SIZE"]) - 1)
    if rank == last and behaviour == "miss": sys.exit(2)
    if rank == last: os.kill(os.getpid(), signal.SIGKILL)
    while not (folder / f"{last}.pid").exists(): time.sleep(0.001)
    other = pathlib.Path("/proc", (folder / f"{last}.pid").read_text(), "stat")
    while ") Z " not in other.read_text(): time.sleep(0.001)
    sys.exit(1) if rank == "0" else os.abort()
sys.exit(int(behaviour))
"""


def start(
    start_python: StartPython, folder: Path, behaviour: str, ranks: int = 1, restarts: int = 0, **environment: str
) -> Process:
    program = folder / "rank.py"
    program.write_text(RANK)
    launcher = [sys.executable, "-m", "service.launcher.torchrun", "--standalone", f"--nproc-per-node={ranks}"]
    launcher.append(f"--max-restarts={restarts}")
    with said(folder).open("w") as errors:
        return start_python(
            [*launcher, str(program), str(folder), behaviour],
            cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, stderr=errors,
        )  # fmt: skip


HINT = "(by hand, or by the kernel where memory runs out: see dmesg)"
NO_MORE = "no restart is allowed (--restarts): --resume continues the run from its last checkpoint"
KILLED = f"Error: rank 0 (process N) was ended by SIGKILL {HINT}, and {NO_MORE}.\n"
FAILED = f"Error: rank 0 (process N) ended with exit code 1, and {NO_MORE}.\n"


def said(folder: Path) -> Path:
    """What the launcher writes to stderr."""
    return folder / "said"


@pytest.mark.parametrize(
    ("behaviour", "code", "sentence"),
    [("0", 0, ""), ("2", 2, ""), ("74", 74, ""), ("killed", 137, KILLED), ("1", 1, FAILED)],
)
def test_the_exit_code_is_the_ranks_own(
    start_python: StartPython, tmp_path: Path, behaviour: str, code: int, sentence: str
) -> None:
    launcher = start(start_python, tmp_path, behaviour)

    assert (launcher.wait(timeout=60), shown(tmp_path)) == (code, sentence)


def shown(folder: Path) -> str:
    """What the launcher has said, with N for process ids and times."""
    return re.sub(r"(?<=process )[0-9]+|^[0-9:]{8}(?= )", "N", said(folder).read_text(), flags=re.MULTILINE)


def test_an_answer_of_one_rank_counts_more_than_the_end_of_those_that_miss_it(
    start_python: StartPython, tmp_path: Path
) -> None:
    launcher = start(start_python, tmp_path, "miss", ranks=2)

    assert (launcher.wait(timeout=60), said(tmp_path).read_text()) == (2, "")


@pytest.mark.parametrize(
    ("behaviour", "latest", "sentence"),
    [
        ("once9", "step_0000100", f"was ended by SIGKILL {HINT}; all ranks start again from checkpoint step_0000100"),
        ("once11", "", "was ended by SIGSEGV; all ranks start again from step 0, for want of a checkpoint"),
        ("once1", "", "ended with exit code 1; all ranks start again from step 0, for want of a checkpoint"),
    ],
)
def test_a_restart_is_said_with_the_rank_its_end_and_the_checkpoint(
    start_python: StartPython, tmp_path: Path, behaviour: str, latest: str, sentence: str
) -> None:
    (tmp_path / "checkpoints").mkdir()
    if latest:
        (tmp_path / "checkpoints" / "latest").symlink_to(latest)
    launcher = start(start_python, tmp_path, behaviour, restarts=2, TORCHRUN_RUN_DIRECTORY=str(tmp_path))

    assert launcher.wait(timeout=60) == 0
    assert shown(tmp_path) == f"N Rank 0 (process N) {sentence} (restart 1 of 2).\n"
    pid = int((tmp_path / "0.pid").read_text())
    assert f"process {pid})" not in said(tmp_path).read_text(), "the process that ended, not its successor"


def test_when_all_restarts_are_used_up_it_is_said_how_to_go_on(start_python: StartPython, tmp_path: Path) -> None:
    launcher = start(start_python, tmp_path, "killed", restarts=1, TORCHRUN_RUN_DIRECTORY=str(tmp_path))

    assert launcher.wait(timeout=60) == 137
    last = shown(tmp_path).splitlines()[-1]
    assert "and restart 1 of 1 is used up: --resume continues the run from step 0, for want of" in last


def test_the_rank_that_was_killed_is_named_rather_than_those_that_miss_it(
    start_python: StartPython, tmp_path: Path
) -> None:
    launcher = start(start_python, tmp_path, "missed", ranks=3)

    assert launcher.wait(timeout=60) == 137
    assert shown(tmp_path).startswith("Error: rank 2 (process N) was ended by SIGKILL")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU, signal.SIGQUIT])
def test_a_signal_of_a_scheduler_ends_all_ranks_quietly_with_143(tmp_path: Path, number: signal.Signals) -> None:
    launcher = start(subprocess.Popen, tmp_path, "wait", ranks=2)  # a new interpreter, as users start one
    ranks = [pid_of(tmp_path, "0"), pid_of(tmp_path, "1")]
    launcher.send_signal(number)

    assert (launcher.wait(timeout=60), said(tmp_path).read_text()) == (143, "")
    until(lambda: not any(is_running(pid) for pid in ranks))


def test_an_announcement_before_the_ranks_are_started_counts_as_sigterm(tmp_path: Path) -> None:
    launcher = start(subprocess.Popen, tmp_path, "wait")
    until(lambda: catches(launcher.pid, signal.SIGUSR1))
    launcher.send_signal(signal.SIGUSR1)

    assert (launcher.wait(timeout=60), said(tmp_path).read_text()) == (-signal.SIGTERM, "")


def test_ranks_that_save_are_not_hurried_by_further_signals(start_python: StartPython, tmp_path: Path) -> None:
    launcher = start(start_python, tmp_path, "save", ranks=2)
    asked_to_leave(launcher, tmp_path, signal.SIGTERM)
    asked_at = time.monotonic()
    until(lambda: time.monotonic() - asked_at > DUPLICATE_SECONDS)  # earlier ones may count as the same
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
        launcher.send_signal(number)
    (tmp_path / "saved").touch()

    assert (launcher.wait(timeout=60), said(tmp_path).read_text()) == (143, "")


def test_a_repeated_ctrl_c_kills_ranks_that_have_not_saved_and_the_exit_code_says_so(
    start_python: StartPython, tmp_path: Path
) -> None:
    launcher = start(start_python, tmp_path, "save", ranks=2)
    asked_to_leave(launcher, tmp_path, signal.SIGINT)

    def has_ended_after_another() -> bool:
        launcher.send_signal(signal.SIGINT)
        return launcher.poll() is not None

    until(has_ended_after_another)

    assert launcher.wait() == 137
    assert said(tmp_path).read_text() == ("Error: rank 0 was killed before it had saved; --resume continues the run.\n")


def test_ranks_that_take_too_long_to_save_are_killed_and_the_exit_code_says_so(tmp_path: Path) -> None:
    launcher = start(subprocess.Popen, tmp_path, "save", TORCH_ELASTIC_SHUTDOWN_TIMEOUT="1")
    asked_to_leave(launcher, tmp_path, signal.SIGTERM, ranks=1)

    assert launcher.wait(timeout=60) == 137
    assert "rank 0 was killed before it had saved" in said(tmp_path).read_text()


def asked_to_leave(launcher: Process, folder: Path, number: signal.Signals, ranks: int = 2) -> None:
    """Send the launcher a signal, and wait until every rank has received it."""
    for rank in range(ranks):
        pid_of(folder, str(rank))
    launcher.send_signal(number)
    until(lambda: all((folder / f"{rank}.asked").exists() for rank in range(ranks)))


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (number - 1) & 1)


def test_an_error_of_the_launcher_itself_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchrun, "LAUNCHER", "service.no_such_module")
    monkeypatch.setattr(os, "environ", dict(os.environ))  # it names itself to its ranks, which later tests do not have

    with pytest.raises(ImportError):
        torchrun.main()
