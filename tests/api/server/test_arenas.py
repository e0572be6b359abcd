"""How many pools of memory the threads of a server share."""

import platform
import re
import subprocess
import sys

import pytest

from api.server.arenas import ARENAS, VARIABLE

THREADS = 8
COUNT = f"""
import ctypes, sys, threading
from api.server.arenas import limit_arenas
if sys.argv[1] == "limited":
    limit_arenas()
libc, together = ctypes.CDLL(None), threading.Barrier({THREADS})
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
def allocate():
    libc.malloc(100_000)
    together.wait(30)
threads = [threading.Thread(target=allocate) for _ in range({THREADS})]
for thread in threads: thread.start()
for thread in threads: thread.join()
out = ctypes.c_void_p(libc.fopen(b"/dev/stdout", b"w"))
libc.malloc_info(0, out)
libc.fclose(out)
"""


def pools(way: str, environment: dict[str, str] | None = None) -> int:
    """How many pools a process has whose threads have all allocated at the same time."""
    command = [sys.executable, "-c", COUNT, way]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return len(re.findall(r"<heap nr=", said))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has pools for threads")
def test_threads_share_few_pools_of_memory_unless_the_environment_says_how_many() -> None:
    assert pools("unlimited") > ARENAS
    assert pools("limited") <= ARENAS
    assert pools("limited", {VARIABLE: "5"}) == 5
