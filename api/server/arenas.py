"""Limits how many pools of memory the C library keeps for this process's threads.

glibc gives each thread a pool of its own, up to eight for each core, and returns little of what it has given out once.
Every request opens the store anew, on any of some hundred threads, so each pool grows to the largest answer that its
thread has made (`python -m bench.soak`).
"""

import ctypes
import os
from collections.abc import Mapping
from contextlib import suppress

ARENAS = 2
VARIABLE = "MALLOC_ARENA_MAX"
"""glibc's own variable: who sets it knows better."""
_M_ARENA_MAX = -8


def limit_arenas(environment: Mapping[str, str] = os.environ) -> None:
    """Let all threads that are started later share ARENAS pools; another C library than glibc has none to limit."""
    if VARIABLE not in environment:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, ARENAS)
