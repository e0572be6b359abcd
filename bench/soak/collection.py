"""Lets another process ask a Python process to collect its garbage, so that its memory is seen without any.

Imported by a `sitecustomize` of the bench in every process of the room. After SIGNAL the main thread collects, and
writes the number of Python's memory blocks to a file of the process in the folder that BENCH_SOAK names.
"""

import gc
import os
import signal
import sys
from pathlib import Path

SIGNAL = signal.SIGRTMIN + 7
FOLDER = "BENCH_SOAK"


def answer_requests() -> None:
    """Collect whenever SIGNAL comes, in this process and those that it forks."""
    signal.signal(SIGNAL, _collect)


def can_be_asked(pid: int) -> bool:
    """Whether a process handles SIGNAL by now; it would be killed by it otherwise."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    caught = next((int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:")), 0)
    return bool(caught >> (SIGNAL - 1) & 1)


def blocks_of(folder: Path, pid: int) -> int | None:
    """How many blocks of memory Python held in that process after its last collection; None if it never answered."""
    try:
        return int((folder / str(pid)).read_text() or -1)
    except OSError:
        return None


def _collect(_number: int, _frame: object) -> None:
    gc.collect()
    Path(os.environ[FOLDER], str(os.getpid())).write_text(str(sys.getallocatedblocks()))
