"""A process that has imported what Python programs need and forks for each of them: a start takes milliseconds.

    python -m tests.harness.fork_server DESCRIPTOR MODULE …

Imports the modules, then waits at the socket for jobs (`tests/harness/forked.py` asks). The fork of a job becomes what
`python <arguments>` would have become: own session, streams, environment, folder, `sys.argv`, `__main__` and exit. What
differs: forks end when the server does, unless they ask for another signal then; they share the seed of `hash`, and
what a module reads of the environment while it is imported is what the server's says. `pytest --no-fork` starts new
interpreters instead.

A fork that becomes torchrun first forks a server of its own, so that its ranks are forks too and end when it dies.
"""

import atexit
import ctypes
import gc
import importlib
import os
import pickle
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.launcher.parent_death import LAUNCHER_PID

LAUNCHERS = {"torch.distributed.run", "service.launcher.torchrun"}
NUMBER = struct.Struct("i")
"""What comes back of a job, each a packet of its own: the process id, then the status as `waitpid` gives it."""
MAX_BYTES = 1 << 20
PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15


@dataclass(frozen=True)
class Job:
    """What an interpreter would be started with."""

    arguments: tuple[str, ...]
    environment: dict[str, str]
    folder: str
    has_own_session: bool

    @property
    def is_launcher(self) -> bool:
        """Whether it starts ranks."""
        return self.arguments[:1] == ("-m",) and self.arguments[1] in LAUNCHERS


def serve(jobs: socket.socket) -> Job | None:
    """Fork for every job; returns the job in its fork, and None in the server once nobody is left to ask."""
    running: dict[int, tuple[int, int]] = {}  # by the descriptor of a process: its id, and where its end is told
    while True:
        for descriptor in select.select([jobs.fileno(), *running], [], [])[0]:
            if descriptor in running:
                _tell_end(descriptor, *running.pop(descriptor))
                continue
            content, descriptors, _, _ = socket.recv_fds(jobs, MAX_BYTES, 4)
            if not content:
                return None
            told, *streams = descriptors
            server = os.getpid()
            if (pid := os.fork()) == 0:
                _end_with(server)
                for inherited in (jobs.detach(), *running, *(end for _, end in running.values())):
                    os.close(inherited)
                return _take_place(pickle.loads(content), told, streams)
            running[os.pidfd_open(pid)] = pid, told
            for stream in streams:
                os.close(stream)


def _end_with(server: int) -> None:
    """Let the kernel kill this fork when its server ends, which ends with the tests, however they end."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != server:
        os._exit(1)


def _tell_end(descriptor: int, pid: int, told: int) -> None:
    _, status = os.waitpid(pid, 0)
    os.close(descriptor)
    try:
        os.write(told, NUMBER.pack(status))
    except BrokenPipeError:
        return  # whoever asked is gone
    finally:
        os.close(told)


def _take_place(job: Job, told: int, streams: list[int]) -> Job:
    """Give this fork what belongs to the job, and tell its process id once all of it is there."""
    if job.has_own_session:
        os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(job.environment)
    os.chdir(job.folder)
    if "RANK" in job.environment:
        ctypes.CDLL(None).prctl(PR_SET_NAME, f"rank {job.environment['RANK']}".encode(), 0, 0, 0)
        os.environ[LAUNCHER_PID] = str(os.getppid())  # this server ends with the launcher
    os.write(told, NUMBER.pack(os.getpid()))
    os.close(told)
    return job


def serve_launcher() -> Job | None:
    """In a fork that is to become torchrun: fork the server of its ranks, and let it ask there for processes.

    Returns None in the launcher, and the rank's job in each rank.
    """
    own, others = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    launcher = os.getpid()
    if (pid := os.fork()) == 0:
        _end_with(launcher)
        own.close()
        if (job := serve(others)) is None:
            os._exit(0)
        return job
    others.close()
    _ask_for_processes(own)
    _forgive_groups_that_are_gone()
    atexit.register(_close, own, pid)
    return None


def _forgive_groups_that_are_gone() -> None:
    """A launcher's own child is a zombie, with its group, until the launcher looks; the server looks at once."""
    kill = os.killpg

    def kill_if_there(group: int, number: int) -> None:
        with suppress(ProcessLookupError):
            kill(group, number)

    os.killpg = kill_if_there


def _close(jobs: socket.socket, server: int) -> None:
    jobs.close()
    os.waitpid(server, 0)


def _ask_for_processes(jobs: socket.socket) -> None:
    """Let whoever starts a Python module here ask the server; a script may be a program that needs no torch."""
    from tests.harness.forked import ForkServer

    server = ForkServer(jobs)

    class Popen(subprocess.Popen):  # type: ignore[type-arg]  # torch subscribes its name
        def __new__(cls, args: Any, **options: Any) -> Any:
            is_module = args[0] == sys.executable and "-m" in args[1:3]
            return server.start(args, **options) if is_module else super().__new__(cls)

    subprocess.Popen = Popen  # type: ignore[misc, assignment]


def run(job: Job) -> None:
    """Be the program, as the interpreter would."""
    first, *others = job.arguments
    if first == "-u":
        sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]
        first, *others = others
    _take_search_path(job.environment)
    if first == "-m":
        _run_module(*others)
    elif first == "-c":
        sys.argv = ["-c", *others[1:]]
        exec(compile(others[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv, sys.path[0] = [first, *others], str(Path(first).parent)
        runpy.run_path(first, run_name="__main__")


def _run_module(name: str, *arguments: str) -> None:
    for imported in (name, f"{name}.__main__"):  # an interpreter has not imported yet what it runs
        if imported in sys.modules and not hasattr(sys.modules[imported], "__path__"):
            del sys.modules[imported]
    sys.argv, sys.path[0] = [name, *arguments], os.getcwd()
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def _take_search_path(environment: dict[str, str]) -> None:
    """Put what PYTHONPATH adds in front, and carry out the `sitecustomize` that lies there."""
    added = [folder for folder in environment.get("PYTHONPATH", "").split(os.pathsep) if folder not in ("", *sys.path)]
    sys.path[1:1] = added
    if any(Path(folder, "sitecustomize.py").exists() for folder in added):
        sys.modules.pop("sitecustomize", None)
        importlib.import_module("sitecustomize")


class Ending:
    """Ends a fork when all that a program does at its end is done, without tearing down the modules of the server."""

    def __init__(self) -> None:
        self.code = 1
        atexit.register(self._leave)  # the first to be registered is the last to be called

    def _leave(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(self.code)

    def run(self, job: Job) -> None:
        """Be the program, and leave with its exit code."""
        try:
            run(job)
        except SystemExit as end:
            self.code = end.code if isinstance(end.code, int) else int(end.code is not None)
            raise
        self.code = 0


def main() -> None:
    ending = Ending()
    jobs = socket.socket(fileno=int(sys.argv[1]))
    for name in sys.argv[2:]:
        importlib.import_module(name)
    if len(os.listdir("/proc/self/task")) > 1:
        raise RuntimeError("a module has started a thread, which no fork would have")
    gc.collect()
    gc.freeze()
    job = serve(jobs)
    if job is not None and job.is_launcher:
        job = serve_launcher() or job
    if job is not None:
        ending.run(job)
    else:
        ending.code = 0


if __name__ == "__main__":
    main()
