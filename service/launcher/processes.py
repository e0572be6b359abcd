"""Child processes of the launcher, and the orphans that they leave.

Every child runs in its own session, so that Ctrl-C in the terminal reaches only the launcher, and under
`parent_death`, so that it ends if the launcher is killed. torchrun starts each rank in its own session too. If torchrun
dies without ending its ranks, the kernel reparents them to the launcher, which is their subreaper and ends them. On
systems other than Linux, orphans are not reparented.
"""

import ctypes
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from service.config.timeouts import launcher_grace_seconds
from service.errors import UserError
from service.launcher.parent_death import ending_with_this
from service.launcher.programs import Program
from service.launcher.termination import how_it_ended

PR_SET_CHILD_SUBREAPER = 36
POLL_SECONDS = 0.02


class ChildProcess:
    """A process started by the launcher on its main thread, leader of its own group."""

    def __init__(self, program: Program) -> None:
        """Start the program with empty input; it inherits the launcher's output."""
        self._process = subprocess.Popen(
            ending_with_this(program.command),
            env=program.environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The process id, which is also the process group id."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """Return the exit code, negative if a signal ended the process, or None while it runs."""
        return self._process.poll()

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the process group if the process still runs."""
        if self.exit_code() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def wait(self, seconds: float) -> bool:
        """Wait for the process to end; returns False if it still runs after `seconds`."""
        try:
            self._process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """Kill the process group and wait until the process has ended."""
        self.signal_group(signal.SIGKILL)
        self._process.wait()


class OrphanProcesses:
    """Orphans of ended children: children of this process that it neither started nor had before."""

    def __init__(self) -> None:
        self._known = set(children_of(os.getpid()))

    def exclude(self, child: ChildProcess) -> None:
        """Register a child that was started, so that it does not count as an orphan."""
        self._known.add(child.pid)

    def remaining(self) -> list[int]:
        """Return the process ids of the running orphans, and reap those that have ended."""
        orphans = [pid for pid in children_of(os.getpid()) if pid not in self._known]
        return [pid for pid in orphans if not _reap(pid)]

    def kill(self) -> None:
        """Kill the orphans, and the orphans that these leave."""
        while remaining := self.remaining():
            for pid in remaining:
                # A child that was not reaped keeps its process id, so this cannot hit another process.
                os.kill(pid, signal.SIGKILL)
            time.sleep(POLL_SECONDS)


@contextmanager
def adopting_orphans() -> Iterator[OrphanProcesses]:
    """Make this process the parent of its children's orphans while the context is active."""
    _set_subreaper(True)
    try:
        yield OrphanProcesses()
    finally:
        _set_subreaper(False)


def _set_subreaper(on: bool) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0)


def children_of(parent: int) -> list[int]:
    """Return the process ids of the direct children, zombies included."""
    children = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # the process has ended in the meantime
            # Format: pid (name) state parent ...; the name may contain any characters, even parentheses.
            if int(status.read_text().rpartition(")")[2].split()[1]) == parent:
                children.append(int(status.parent.name))
    return children


def _reap(pid: int) -> bool:
    """Reap a child if it has ended; returns False if it still runs."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


@dataclass(frozen=True)
class Timing:
    """Timeouts and intervals of the launcher, in seconds."""

    trainer_grace_seconds: float = field(default_factory=lambda: launcher_grace_seconds(os.environ))
    api_grace_seconds: float = 10.0
    first_pause_seconds: float = 1.0
    max_pause_seconds: float = 30.0
    healthy_seconds: float = 60.0
    tick_seconds: float = 0.25
    duplicate_signal_seconds: float = 0.3
    delivery_seconds: float = 15.0


class ApiRestarter:
    """Starts the API, and restarts it with growing pauses when it has died.

    One that refuses its settings at its first start would refuse them each time: it is not started again.
    """

    def __init__(self, start: Callable[[], ChildProcess], print_line: Callable[[str], None], timing: Timing) -> None:
        self.child: ChildProcess | None = None
        self._start = start
        self._print = print_line
        self._timing = timing
        self._pause_seconds = timing.first_pause_seconds
        self._started_at = 0.0
        self._next_start = 0.0
        self._has_run = False

    def check(self) -> None:
        """Detect the end of the API and schedule a restart, or start it if a start is due."""
        now = time.monotonic()
        if self.child is None and now >= self._next_start:
            self._try_to_start(now)
        elif self.child is not None and (code := self.child.exit_code()) is not None:
            self.child = None
            self._has_run |= code != UserError.exit_code or now - self._started_at > self._timing.healthy_seconds
            if not self._has_run:
                self._give_up()
            else:
                self._schedule_restart(now, how_it_ended(code))

    def _give_up(self) -> None:
        self._next_start = math.inf
        self._print(
            "The API does not start, for the reason above; the training goes on without page and alerts. Correct "
            "the setting, then start `leitstand serve` beside it with the same settings."
        )

    def _try_to_start(self, now: float) -> None:
        self._started_at = now
        try:
            self.child = self._start()
        except OSError as error:  # no memory, or too many processes
            self._schedule_restart(now, f"could not be started ({error.strerror})")

    def _schedule_restart(self, now: float, reason: str) -> None:
        if now - self._started_at > self._timing.healthy_seconds:
            self._pause_seconds = self._timing.first_pause_seconds
        self._print(f"The API {reason}; the training goes on. Starting it again in {self._pause_seconds:g} s.")
        self._next_start = now + self._pause_seconds
        self._pause_seconds = min(2 * self._pause_seconds, self._timing.max_pause_seconds)
