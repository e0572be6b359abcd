"""Ranks as forks of a fork server: started there, and children of this process all the same."""

import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from service.launcher.ranks.fork_server import GO, Job

PR_SET_CHILD_SUBREAPER = 36
IMPORT_SECONDS = 60.0
"""How long the server is waited for: at the first start it is still importing."""
POLL_SECONDS = 0.01
SERVER = "service.launcher.ranks.fork_server"
DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Files of GPUs' drivers; forks are not tried beside them."""
MODULES = (
    "ddp.training.rank", "ddp.recording.recorder", "ddp.recording.registration", "ddp.vsr.workload", "numpy.random",
    "service.run.records.keeping.automatic", "sqlalchemy.dialects.sqlite",
)  # fmt: skip
"""What ranks import, by name: at once, and later during their start."""


class ForkedRank:
    """A rank that a fork server has started; its methods are those of `subprocess.Popen` that torchrun uses."""

    def __init__(self, args: Sequence[str], pid: int) -> None:
        self.args = args
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, negative if a signal ended the rank, or None while it runs."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                self.returncode = 1  # somebody else has taken its exit code
            else:
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit code. Raises `subprocess.TimeoutExpired` after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            time.sleep(POLL_SECONDS)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the rank has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def can_fork() -> bool:
    """Whether ranks can be forks on this machine."""
    return sys.platform == "linux" and not any(map(os.path.exists, DEVICES))


class ForkServer:
    """The fork server of a launcher. Without one, or when it is gone, ranks are started as new processes."""

    def __init__(self, modules: Sequence[str] = MODULES) -> None:
        """Start the server; it imports `modules` while this process goes on. Call it on the main thread."""
        self._jobs, others = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", SERVER, str(others.fileno()), *modules]
        with others:
            self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=[others.fileno()], start_new_session=True
            )

    def start(
        self, name: str, args: Sequence[str], environment: Mapping[str, str], streams: Sequence[int]
    ) -> ForkedRank | None:
        """Start `python -u -m MODULE …` as a fork with these streams; None if it has to be a new process.

        Waits for the imports of the server, if they are not done yet. `ps` shows `name`.
        """
        if self._process is None or tuple(args[:3]) != (sys.executable, "-u", "-m"):
            return None
        job = Job(name, tuple(args[3:]), dict(environment), os.getcwd(), os.getpid())
        told, others = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with told, _adopting_orphans():
            with others, suppress(OSError):
                socket.send_fds(self._jobs, [job.to_json()], [others.fileno(), *streams])
            pid = _answer(told)
            if pid is None:
                sys.stderr.write("The fork server is gone; ranks are started as new processes.\n")
                self.close()
                return None
            with suppress(OSError):  # a rank that has been killed meanwhile is one that has failed
                told.send(GO)
        return ForkedRank(args, pid)

    @property
    def pid(self) -> int | None:
        """The process id of the server; None once it is closed."""
        return None if self._process is None else self._process.pid

    def close(self) -> None:
        """End the server. Ranks that it has started go on."""
        self._jobs.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _answer(told: socket.socket) -> int | None:
    """Wait for a rank's process id; None if the server ends or does not answer."""
    if not select.select([told], [], [], IMPORT_SECONDS)[0]:
        return None
    with suppress(OSError, ValueError):
        return int(told.recv(64))
    return None


@contextmanager
def _adopting_orphans() -> Iterator[None]:
    """Let this process become the parent of orphans below it, for this time only."""
    library = ctypes.CDLL(None)
    library.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        library.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
