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

PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Request SIGTERM from the kernel for the death of the parent; does nothing on systems other than Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def main(arguments: list[str]) -> None:
    """Replace this process by the command, or return without output if the launcher has already ended."""
    launcher, *command = arguments
    end_with_parent()
    # The launcher may have died before the request; then the kernel sends no signal.
    if os.getppid() == int(launcher):
        os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
