"""Runs a command that ends when its launcher does, however the launcher ends, SIGKILL included.

    python -m service.launcher.parent_death <pid of the launcher> <command> [arguments...]

Asks the kernel for SIGTERM at the launcher's death and then becomes the command; the request survives `exec`. On
systems other than Linux the command just runs. A pipe held by the children would need a watching thread in programs
that are not ours (torchrun, gunicorn); a function between fork and exec would not be safe beside threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent dies; nothing on systems other than Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def main(arguments: list[str]) -> None:
    """Become the command, or leave quietly when the launcher is gone already."""
    launcher, *command = arguments
    end_with_parent()
    # It may have died before the request was made; then no signal will ever come.
    if os.getppid() == int(launcher):
        os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
