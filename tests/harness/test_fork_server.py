"""What the tests start ends with them, however they end."""

import subprocess
import sys

import psutil
import pytest

from tests.harness.forked import REPOSITORY

ASKING = """
import signal, sys
from tests.harness.forked import fork_server
with fork_server() as server:
    child = server.start([sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True)
    print(child.pid, flush=True)
    signal.pause()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="forks are used on Linux only")
def test_the_processes_of_a_test_run_that_is_killed_end() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ASKING], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as asking:
        try:
            assert asking.stdout is not None
            child = psutil.Process(int(asking.stdout.readline()))
            server = psutil.Process(child.ppid())
            assert server.pid != asking.pid
        finally:
            asking.kill()

    _, alive = psutil.wait_procs([child, server], timeout=60)
    assert alive == []
