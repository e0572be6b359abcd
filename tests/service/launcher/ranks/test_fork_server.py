"""Ranks as forks: like new processes in all that a rank and its launcher see, whatever becomes of the server."""

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from service.launcher.ranks import forked_rank
from service.launcher.ranks.forked_rank import ForkedRank, ForkServer

PR_GET_CHILD_SUBREAPER = 37
PROGRAM = """
import json, os, signal, sys, time
kind, *others = sys.argv[1:]
if kind == "tell":
    name = open("/proc/self/comm").read().strip()
    leads = os.getsid(0) == os.getpid()
    print(json.dumps([__name__, others, dict(os.environ), os.getcwd(), os.getppid(), leads, name]))
    print("to stderr", file=sys.stderr)
elif kind == "kill": os.kill(os.getpid(), signal.SIGKILL)
elif kind == "raise": raise ValueError("as it happens")
elif kind == "text": sys.exit("a sentence")
elif kind == "wait":
    from service.launcher.parent_death import end_with_launcher
    end_with_launcher(os.environ)
    print("waits", flush=True)
    while not os.path.exists(others[0]): time.sleep(0.01)
    sys.exit(7)
else: sys.exit(int(kind))
"""
LAUNCHER = """
import os, sys, time
from service.launcher.ranks.forked_rank import ForkServer
server = ForkServer(["json"])
environment = {**os.environ, "TORCHRUN_PID": str(os.getpid())}
rank = server.start("rank 0", (sys.executable, "-u", "-m", "rank_program", "wait", "never"), environment, (0, 1, 2))
print(server.pid, rank.pid, flush=True)
time.sleep(600)
"""

Start = Callable[..., ForkedRank | None]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "rank_program.py").write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path(__file__).parents[4]}")
    return tmp_path


@contextmanager
def serving(*modules: str) -> Iterator[ForkServer]:
    server = ForkServer(modules or ("json",))
    try:
        yield server
    finally:
        server.close()


def start(server: ForkServer, *arguments: str, **environment: str) -> ForkedRank | None:
    with Path("out").open("wb") as out, Path("err").open("wb") as err, Path(os.devnull).open("rb") as nothing:
        args = (sys.executable, "-u", "-m", "rank_program", *arguments)
        streams = (nothing.fileno(), out.fileno(), err.fileno())
        return server.start("rank 3", args, {**os.environ, **environment}, streams)


def started(server: ForkServer, *arguments: str, **environment: str) -> ForkedRank:
    rank = start(server, *arguments, **environment)
    assert rank is not None
    return rank


def test_a_fork_has_all_that_a_new_process_would_have(folder: Path) -> None:
    with serving() as server:
        assert started(server, "tell", "a b", "ü", TOLD="yes").wait(timeout=60) == 0

    name, arguments, environment, cwd, parent, leads, process_name = json.loads(Path("out").read_text())
    assert (name, arguments, environment["TOLD"], cwd) == ("__main__", ["a b", "ü"], "yes", str(folder))
    assert (parent, leads, process_name) == (os.getpid(), True, "rank 3")
    assert Path("err").read_text() == "to stderr\n"


@pytest.mark.parametrize(
    ("kind", "code", "said"),
    [
        ("0", 0, ""),
        ("74", 74, ""),
        ("kill", -9, ""),
        ("raise", 1, "ValueError: as it happens\n"),
        ("text", 1, "a sentence\n"),
    ],
)
def test_the_launcher_gets_the_exit_code_itself(folder: Path, kind: str, code: int, said: str) -> None:
    with serving() as server:
        rank = started(server, kind)
        assert (rank.wait(timeout=60), rank.poll()) == (code, code)

    assert (folder / "err").read_text().endswith(said)


def test_this_process_adopts_orphans_only_while_a_rank_is_started(folder: Path) -> None:
    with serving() as server:
        started(server, "0").wait(timeout=60)
    adopts = ctypes.c_int(-1)
    ctypes.CDLL(None).prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(adopts), 0, 0, 0)

    assert adopts.value == 0


def test_ranks_outlive_the_server_and_later_ones_are_new_processes(
    folder: Path, capsys: pytest.CaptureFixture[str], eventually: Callable[..., None]
) -> None:
    with serving() as server:
        rank = started(server, "wait", str(folder / "gate"), TORCHRUN_PID=str(os.getpid()))
        eventually(lambda: (folder / "out").read_text(), what="a rank that waits")
        os.kill(server.pid or 0, signal.SIGKILL)

        assert start(server, "0") is None
        assert start(server, "0") is None
        assert rank.poll() is None
        (folder / "gate").touch()
        assert rank.wait(timeout=60) == 7
    assert capsys.readouterr().err == "The fork server is gone; ranks are started as new processes.\n"


def test_a_server_that_does_not_answer_is_given_up(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving() as server:
        started(server, "0").wait(timeout=60)
        os.kill(server.pid or 0, signal.SIGSTOP)
        monkeypatch.setattr(forked_rank, "IMPORT_SECONDS", 0.05)

        assert start(server, "0") is None
    assert "The fork server is gone" in capsys.readouterr().err


def test_signals_reach_a_rank_and_waiting_has_an_end(folder: Path) -> None:
    with serving() as server:
        rank = started(server, "wait", "never", TORCHRUN_PID=str(os.getpid()))
        with pytest.raises(subprocess.TimeoutExpired):
            rank.wait(timeout=0.02)
        rank.terminate()
        assert rank.wait(timeout=60) == -signal.SIGTERM
        rank.kill()


def test_when_the_launcher_is_killed_its_ranks_and_the_server_end(
    folder: Path, eventually: Callable[..., None]
) -> None:
    command = [sys.executable, "-c", LAUNCHER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        words = " ".join(launcher.stdout.readline() for _ in range(2)).split()
        pids = [int(word) for word in words if word != "waits"]
        assert len(pids) == 2
        launcher.kill()
        eventually(lambda: not any(map(psutil.pid_exists, pids)), seconds=60, what="the end of both")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        pytest.param(
            "threaded", "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
            "an import has started a thread", id="thread",
        ),
        pytest.param(
            "torch", "class cuda:\n    is_initialized = staticmethod(lambda: True)", "an import has begun to use a GPU",
            id="device",
        ),
        pytest.param("broken", "raise ImportError('no such thing')", "no such thing", id="failing"),
    ],
)  # fmt: skip
def test_nothing_is_forked_where_a_fork_would_not_be_like_a_new_process(
    folder: Path, capfd: pytest.CaptureFixture[str], name: str, content: str, reason: str
) -> None:
    (folder / f"{name}.py").write_text(content)
    with serving(name) as server:
        assert start(server, "0") is None

    assert reason in capfd.readouterr().err


def test_a_command_that_is_no_python_module_is_left_to_others(folder: Path) -> None:
    with serving() as server:
        for args in (("/bin/true",), (sys.executable, "-u", "rank.py"), ("numactl", sys.executable, "-u", "-m", "ddp")):
            assert server.start("rank 0", args, {}, (0, 1, 2)) is None


def test_what_ranks_import_starts_no_thread_and_touches_no_device() -> None:
    modules: Sequence[str] = forked_rank.MODULES
    program = (
        f"import {', '.join(modules)}\nfrom service.launcher.ranks.fork_server import reason_against_forks as why\n"
    )
    command = [sys.executable, "-c", f"{program}print(why())"]

    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "None\n"
