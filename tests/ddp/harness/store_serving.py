"""Torch's key-value store in a process of its own, for the time of a `with`: to be frozen, killed and started again."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from torch.distributed import TCPStore

from ddp.distributed.status_store import TcpStatusStore
from tests.harness.forked import Process, StartPython
from tests.postgres import freeze_process

SERVER = """
import sys
from torch.distributed import TCPStore
store = TCPStore("127.0.0.1", int(sys.argv[1]), is_master=True, wait_for_workers=False)
print(store.port, flush=True)
sys.stdin.read()
"""


ServeStore = Callable[..., AbstractContextManager["StoreServer"]]
"""Serve a store for the time of a `with`, at a port if one is given."""


@dataclass(frozen=True)
class StoreServer:
    """A running store."""

    port: int
    process: Process

    def freeze(self) -> None:
        """Stop every thread of it; a signal alone would let it answer for a moment more."""
        freeze_process(self.process.pid)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@contextmanager
def serving_store(start_python: StartPython, port: int = 0) -> Iterator[StoreServer]:
    """A store on loopback, on a free port if none is given."""
    command = [sys.executable, "-c", SERVER, str(port)]
    process = start_python(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        try:
            assert process.stdout is not None
            yield StoreServer(int(process.stdout.readline()), process)
        finally:
            process.kill()


def store_board(port: int, rank: int, size: int) -> TcpStatusStore:
    """The board of one rank in a store on loopback, as `World.status_store` makes it."""
    connect = partial(
        TCPStore, "127.0.0.1", port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=2)
    )
    return TcpStatusStore(connect, "board/0", rank, size)
