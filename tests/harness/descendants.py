"""What runs below a process, which may end at any moment."""

import os
import signal
from contextlib import suppress

import psutil

from tests.harness.forked import Process


def descendants(pid: int) -> list[psutil.Process]:
    """Return the processes below one, each before those that it started; none if it is gone."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def kill_family(process: Process) -> None:
    """Kill a process, its process group and all below it, ranks that lead groups of their own among them."""
    if process.poll() is not None:
        return
    below = descendants(process.pid)
    with suppress(ProcessLookupError):  # it leads no group, or has just ended
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    for child in reversed(below):
        with suppress(psutil.NoSuchProcess):
            child.kill()
    process.wait(20)
    psutil.wait_procs(below, timeout=10)
