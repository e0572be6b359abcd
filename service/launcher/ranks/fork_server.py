"""A process that has imported what a rank needs, and forks for each rank: a start without the seconds of imports.

    python -m service.launcher.ranks.fork_server DESCRIPTOR MODULE …

Imports the modules, then waits at the socket for jobs, which `forked_rank.py` sends from the launcher. A rank is forked
twice, so that it loses its parent, and the launcher, which adopts such orphans then, becomes it: the launcher waits for
its ranks, signals them and takes them along when it dies, whether this process lives or not. Each fork gets the
streams, environment and session of its own that a new interpreter would have, and runs the module as `__main__`.

It forks nothing, and ends, where an import has started a thread or touched a device, which no fork would have.
"""

import atexit
import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from service.launcher.imports import without_collection
from service.launcher.parent_death import end_with_parent

MAX_JOB_BYTES = 1 << 20
STREAMS = 3
ADOPTION_SECONDS, ADOPTION_POLL_SECONDS = 10.0, 0.0005
GO = b"go"
PR_SET_NAME = 15


@dataclass(frozen=True)
class Job:
    """One rank to start: its name, module with arguments, environment, folder, and the launcher's process id."""

    name: str
    arguments: tuple[str, ...]
    environment: dict[str, str]
    folder: str
    launcher: int

    def to_json(self) -> bytes:
        """Return the job as a message."""
        return json.dumps([self.name, self.arguments, self.environment, self.folder, self.launcher]).encode()

    @classmethod
    def from_json(cls, content: bytes) -> "Job":
        """Return the job in a message."""
        name, arguments, environment, folder, launcher = json.loads(content)
        return cls(name, tuple(arguments), environment, folder, launcher)


def main(arguments: Sequence[str]) -> int:
    """Import and serve until the launcher is gone; in a fork, run its job. Returns the exit code."""
    descriptor, *modules = arguments
    end_with_parent(signal.SIGKILL)
    jobs = socket.socket(fileno=int(descriptor))
    with without_collection():
        for module in modules:
            importlib.import_module(module)
    if (problem := reason_against_forks()) is not None:
        sys.stderr.write(f"Ranks are started as new processes: {problem}.\n")
        return 1
    gc.collect()
    gc.freeze()
    job = _serve(jobs)
    if job is not None:
        _run(job)
    return 0


def reason_against_forks() -> str | None:
    """Return why a fork of this process would not be like a new one, or None if it would."""
    if len(os.listdir("/proc/self/task")) > 1:
        return "an import has started a thread"
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return "an import has begun to use a GPU"
    return None


def _serve(jobs: socket.socket) -> Job | None:
    """Fork for every job; return the job in its fork, and None in the server once nobody is left to ask."""
    while True:
        content, descriptors, _, _ = socket.recv_fds(jobs, MAX_JOB_BYTES, STREAMS + 1)
        if not content:
            return None
        if (between := os.fork()) == 0:
            if os.fork() != 0:
                os._exit(0)
            jobs.close()
            job = Job.from_json(content)
            _take_place(job, *descriptors)
            return job
        for descriptor in descriptors:
            os.close(descriptor)
        os.waitpid(between, 0)


def _take_place(job: Job, told: int, *streams: int) -> None:
    """Give this fork what belongs to the job; go on once the launcher has adopted it and knows it."""
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(job.environment)
    os.chdir(job.folder)
    ctypes.CDLL(None).prctl(PR_SET_NAME, job.name.encode(), 0, 0, 0)
    deadline = time.monotonic() + ADOPTION_SECONDS
    while os.getppid() != job.launcher:
        if time.monotonic() > deadline:
            os._exit(1)
        time.sleep(ADOPTION_POLL_SECONDS)
    with socket.socket(fileno=told) as launcher:
        launcher.send(str(os.getpid()).encode())
        if launcher.recv(len(GO)) != GO:
            os._exit(1)


def _run(job: Job) -> None:
    """Be the program, as `python -u -m` would, and end with its exit code, but without tearing down what is shared."""
    sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]  # a text file, which `-u` makes unbuffered
    module, *arguments = job.arguments
    sys.argv, sys.path[0] = [module, *arguments], job.folder
    ending = _Ending()
    atexit.register(ending.leave)  # the first to be registered of this rank's own is the last of them to be called
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        ending.code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
    except BaseException:
        ending.code = 1
        raise


class _Ending:
    """The end of a fork."""

    def __init__(self) -> None:
        self.code = 0

    def leave(self) -> None:
        """End with the exit code."""
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(self.code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
