"""Processes that belong to us: one that we start, and those that its end leaves behind.

Every child gets a session of its own, so that the terminal's Ctrl-C reaches only us, and a leash, so that it ends when
we are killed. torchrun gives each rank a session too; when torchrun dies without ending its ranks, the kernel hands
them to us (we are their subreaper), and here they are found and ended. Linux only; elsewhere nothing is adopted.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from service.launcher.programs import Program

PR_SET_CHILD_SUBREAPER = 36
POLL_SECONDS = 0.02


class ChildProcess:
    """A process that we started, leader of its own group. Start it on the main thread: the leash is tied to it."""

    def __init__(self, program: Program) -> None:
        """Starts the program, its input empty, its output ours."""
        leash = [sys.executable, "-m", "service.launcher.parent_death", str(os.getpid())]
        self._process = subprocess.Popen(
            [*leash, *program.command], env=program.environment, stdin=subprocess.DEVNULL, start_new_session=True
        )

    @property
    def pid(self) -> int:
        """Its process id, which is also that of its group."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while it runs; a negative number when a signal ended it."""
        return self._process.poll()

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to it and its group, if it still runs."""
        if self.exit_code() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def wait(self, seconds: float) -> bool:
        """Whether it ended within this time."""
        try:
            self._process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End its group at once, and wait until it has ended."""
        self.signal_group(signal.SIGKILL)
        self._process.wait()


class OrphanProcesses:
    """What ended children left behind: our children that we neither started nor had before."""

    def __init__(self) -> None:
        self._ours = set(children_of(os.getpid()))

    def own(self, child: ChildProcess) -> None:
        """This child is no orphan."""
        self._ours.add(child.pid)

    def remaining(self) -> list[int]:
        """The orphans that still run; those that ended are laid to rest."""
        strangers = [pid for pid in children_of(os.getpid()) if pid not in self._ours]
        return [pid for pid in strangers if not _reaped(pid)]

    def kill(self) -> None:
        """End them at once, and what they leave behind in turn."""
        while remaining := self.remaining():
            for pid in remaining:
                # It is our child, so its number cannot have gone to somebody else.
                os.kill(pid, signal.SIGKILL)
            time.sleep(POLL_SECONDS)


@contextmanager
def adopting_orphans() -> Iterator[OrphanProcesses]:
    """Become, for the time of the context, the parent of whatever our children leave behind."""
    _set_subreaper(True)
    try:
        yield OrphanProcesses()
    finally:
        _set_subreaper(False)


def _set_subreaper(on: bool) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0)


def children_of(parent: int) -> list[int]:
    """The process ids of the direct children, zombies included."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended while we looked
            # pid (name) state parent ...; the name may hold anything, brackets too
            if int(status.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(status.parent.name))
    return found


def _reaped(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True
