"""Runs a command that is terminated when its launcher ends for any reason, SIGKILL included.

    python -m service.launcher.parent_death <pid of the launcher> <command> [arguments...]

This program requests SIGTERM from the kernel for the death of the launcher and then replaces itself by the command; the
request survives `exec`. On systems other than Linux, it only runs the command. The alternatives are worse: a pipe held
by the children would need a watching thread in programs of others (torchrun, gunicorn), and code between fork and exec
is not safe in a process with threads.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Mapping, Sequence

PR_SET_PDEATHSIG = 1
LAUNCHER_PID = "TORCHRUN_PID"
"""Variable by which our launcher names its process id to the ranks, which torchrun does not."""


def ending_with_this(command: Sequence[str]) -> list[str]:
    """Return a command line that runs `command`, and terminates it when this process ends.

    Start it on the main thread, because the kernel sends the signal when the thread that started it ends.
    """
    return [sys.executable, "-m", "service.launcher.parent_death", str(os.getpid()), *command]


def end_with_parent(number: signal.Signals = signal.SIGTERM, parent: int | None = None) -> None:
    """Request signal `number` from the kernel for the death of the parent; does nothing on systems other than Linux.

    The kernel sends no signal if the parent has already ended. So this process ends at once if its parent has another
    process id than `parent`, which is by default the one at the time of the call.
    """
    if sys.platform != "linux":
        return
    if not _is_child_of(os.getppid() if parent is None else parent, number):
        os._exit(128 + number)


def end_with_launcher(environment: Mapping[str, str]) -> None:
    """Do the same for a rank, whose launcher may have named its process id in the environment."""
    pid = environment.get(LAUNCHER_PID)
    end_with_parent(parent=int(pid) if pid else None)


def _is_child_of(parent: int, number: signal.Signals) -> bool:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
    return os.getppid() == parent


def main(arguments: list[str]) -> None:
    """Replace this process by the command, or return without output if the launcher has already ended."""
    launcher, *command = arguments
    if sys.platform != "linux" or _is_child_of(int(launcher), signal.SIGTERM):
        os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
