"""Asking a fork server for processes, and holding one as `subprocess.Popen` holds a child."""

import os
import pickle
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

from tests.harness.fork_server import NUMBER, Job

REPOSITORY = Path(__file__).resolve().parents[2]
Stream = IO[Any] | int | None


class ForkedProcess:
    """One process of a fork server; its methods are those of `subprocess.Popen`."""

    def __init__(self, args: Sequence[str], told: int, stdin: IO[str] | None, stdout: IO[str] | None) -> None:
        self.args, self.stdin, self.stdout = args, stdin, stdout
        self.returncode: int | None = None
        self._told = told
        word = os.read(told, NUMBER.size)
        if not word:
            raise RuntimeError("the fork server is gone")
        (self.pid,) = NUMBER.unpack(word)

    def poll(self) -> int | None:
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        if (code := self._look(timeout)) is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], timeout)[0]:
            word = os.read(self._told, NUMBER.size)
            os.close(self._told)
            # The server of a launcher's ranks may be killed together with them.
            self.returncode = os.waitstatus_to_exitcode(*NUMBER.unpack(word)) if word else -signal.SIGKILL
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> "ForkedProcess":
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.stdin, self.stdout):
            if stream is not None:
                stream.close()
        self.wait()


Process = ForkedProcess | subprocess.Popen[str]
StartPython = Callable[..., Process]
"""Start a command of this interpreter, with the arguments of `subprocess.Popen`."""


class ForkServer:
    """The way to a fork server."""

    def __init__(self, jobs: socket.socket) -> None:
        self._jobs = jobs

    def start(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        start_new_session: bool = False,
    ) -> ForkedProcess:
        """As `subprocess.Popen`, for a command of this interpreter."""
        assert command[0] == sys.executable, command
        job = Job(
            tuple(map(str, command[1:])), dict(os.environ if env is None else env), str(cwd or Path.cwd()),
            start_new_session,
        )  # fmt: skip
        told, tells = os.pipe()
        asked = _Streams(stdin, stdout, stderr)
        try:
            socket.send_fds(self._jobs, [pickle.dumps(job)], [tells, *asked.of_child])
        finally:
            os.close(tells)
            asked.close_of_child()
        return ForkedProcess(command, told, asked.stdin, asked.stdout)


class _Streams:
    """The three streams of a child: `of_child` are its descriptors, `stdin` and `stdout` our ends of pipes."""

    def __init__(self, stdin: Stream, stdout: Stream, stderr: Stream) -> None:
        self.stdin: IO[str] | None = None
        self.stdout: IO[str] | None = None
        self._opened: list[int] = []
        reads, writes = self._input(stdin), self._output(stdout)
        self.of_child = (reads, writes, writes if stderr == subprocess.STDOUT else _descriptor(stderr, 2))

    def _input(self, stream: Stream) -> int:
        if stream == subprocess.PIPE:
            reads, writes = os.pipe()
            self.stdin = os.fdopen(writes, "w")
        elif stream == subprocess.DEVNULL:
            reads = os.open(os.devnull, os.O_RDONLY)
        else:
            return _descriptor(stream, 0)
        self._opened.append(reads)
        return reads

    def _output(self, stream: Stream) -> int:
        if stream != subprocess.PIPE:
            return _descriptor(stream, 1)
        reads, writes = os.pipe()
        self.stdout = os.fdopen(reads)
        self._opened.append(writes)
        return writes

    def close_of_child(self) -> None:
        for descriptor in self._opened:
            os.close(descriptor)


def _descriptor(stream: Stream, standard: int) -> int:
    if stream is None:
        return standard
    return stream if isinstance(stream, int) else stream.fileno()


@contextmanager
def fork_server(*modules: str) -> Iterator[ForkServer]:
    """A fork server that has imported these modules, for the time of a `with`."""
    own, others = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with own:
        with others:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.harness.fork_server", str(others.fileno()), *modules],
                cwd=REPOSITORY, stdin=subprocess.DEVNULL, pass_fds=[others.fileno()],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        yield ForkServer(own)
    process.wait(20)


@contextmanager
def starting_python(*modules: str, is_forking: bool) -> Iterator[StartPython]:
    """A way to start programs of this interpreter: forks of one that has imported these modules, or new ones."""
    if is_forking and sys.platform == "linux":
        with fork_server(*modules) as server:
            yield server.start
    else:
        yield partial(subprocess.Popen, text=True)
