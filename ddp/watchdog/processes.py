"""Other ranks of this machine as processes: what the kernel says of a silent one, and the end of one that hangs."""

import os
import signal
from contextlib import suppress
from pathlib import Path

_STATES = {
    "T": "stopped by a signal",
    "t": "stopped by a debugger",
    "D": "waiting in the kernel for a disk or a driver",
    "Z": "dead",
    "X": "dead",
    "R": "running without the interpreter",
    "S": "asleep without the interpreter",
}


def state_of(pid: int) -> str:
    """Return what a process of this machine does, for a sentence; `gone` without one, empty where nothing tells."""
    if not Path("/proc/self/stat").exists():
        return ""
    fields = _stat(pid)
    return "gone" if fields is None else _STATES.get(fields[0], "")


def has_ended(pid: int) -> bool:
    """Return whether a process of this machine has ended; False where nothing tells."""
    return state_of(pid) in {"gone", "dead"}


def is_sibling(pid: int) -> bool:
    """Return whether a process has the same parent as this one: the launcher that started both as ranks."""
    fields = _stat(pid)
    return fields is not None and int(fields[1]) == os.getppid()


def kill(pid: int) -> bool:
    """Kill this process or a sibling, also one that is stopped; return whether it was one of those."""
    if pid != os.getpid() and not is_sibling(pid):
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return True


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat after the name: state, parent, ...; None if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
