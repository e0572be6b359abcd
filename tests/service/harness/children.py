"""Tiny stand-ins for torchrun, gunicorn and the preparation, and a way to wait for what they do."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from service.launcher.programs import Program

LEAVES_IN_ORDER = """
import pathlib, signal, sys, time
folder, name, code = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
def leave(*_):
    (folder / f"{name}.left").write_text(str(time.monotonic_ns()))
    sys.exit(code)
signal.signal(signal.SIGTERM, leave)
import os
(folder / f"{name}.new").write_text(str(os.getpid()))
(folder / f"{name}.new").rename(folder / f"{name}.pid")
while True: time.sleep(0.02)  # not pause(): a signal just before it would be noticed only after the next one
"""
"""Runs until SIGTERM, then notes when it left and leaves with the given code."""

STUBBORN_WITH_RANK = """
import os, pathlib, signal, subprocess, sys
folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
signal.signal(signal.SIGTERM, signal.SIG_IGN)
rank = subprocess.Popen([sys.executable, "-c", "import signal; [signal.pause() for _ in range(9)]"],
                        start_new_session=True)
(folder / f"{name}-rank.new").write_text(str(rank.pid))
(folder / f"{name}-rank.new").rename(folder / f"{name}-rank.pid")
(folder / f"{name}.new").write_text(str(os.getpid()))
(folder / f"{name}.new").rename(folder / f"{name}.pid")
while True: signal.pause()
"""
"""Ignores SIGTERM, and has a child in a session of its own that does too, as torchrun gives its ranks."""

ENDS = "import sys; print(sys.argv[2], flush=True); sys.exit(int(sys.argv[3]))"
"""Ends at once with the given code."""


def program(code: str, folder: Path, name: str, exit_code: int = 143) -> Program:
    """A stand-in; it reports in `folder` under `name`."""
    return Program((sys.executable, "-c", code, str(folder), name, str(exit_code)), os.environ)


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until the condition holds; fails after this time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def pid_of(folder: Path, name: str, seconds: float = 20.0) -> int:
    """The process id that a stand-in reported; waits for it."""
    file = folder / f"{name}.pid"
    until(file.exists, seconds)
    return int(file.read_text())


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
