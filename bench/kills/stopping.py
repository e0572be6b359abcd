"""The default workload, which stops its own process (SIGSTOP) where it enters a given stage.

Its file is copied beside the measured tree, which may be of an earlier commit, and named by WORKLOAD. The page is the
file that BENCH_STOPS names: which rank is to stop in which stage, when it did, and how many forward passes each rank
has begun.
"""

import mmap
import os
import signal
import struct
import time
from pathlib import Path
from typing import Any

from ddp.vsr import workload
from ddp.watchdog.stages import Stage, StageMarker
from service.config.settings import RunConfig

STAGES = ("data", "forward", "all-reduce", "update", "log", "validation", "checkpoint", "command")
NOBODY, MAX_RANKS = -1, 64
_ORDER, _COUNT = struct.Struct("<qqd"), struct.Struct("<q")


class StopPage:
    """The page, shared by all processes that open the same file."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(_ORDER.pack(NOBODY, 0, 0.0) + bytes(MAX_RANKS * _COUNT.size))
        with path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), _ORDER.size + MAX_RANKS * _COUNT.size)

    def order(self, rank: int, stage: str) -> None:
        """Let this rank stop when it next enters this stage."""
        _ORDER.pack_into(self._page, 0, rank, STAGES.index(stage), 0.0)

    def stopped_at(self) -> float | None:
        """The monotonic time at which the rank stopped (s); None before that."""
        rank, _, at = _ORDER.unpack_from(self._page, 0)
        return at if rank == NOBODY else None

    def stop_if_ordered(self, rank: int, stage: str) -> None:
        """Stop this process if it is its turn."""
        wanted, number, _ = _ORDER.unpack_from(self._page, 0)
        if wanted == rank and STAGES[number] == stage:
            _ORDER.pack_into(self._page, 0, NOBODY, number, time.monotonic())
            os.kill(os.getpid(), signal.SIGSTOP)

    def count_forward(self, rank: int) -> None:
        """Count a forward pass of this rank."""
        _COUNT.pack_into(self._page, _ORDER.size + rank * _COUNT.size, self.forwards(rank) + 1)

    def forwards(self, rank: int) -> int:
        """How many forward passes this rank has begun."""
        count: int = _COUNT.unpack_from(self._page, _ORDER.size + rank * _COUNT.size)[0]
        return count


def build(config: RunConfig) -> Any:
    """Open the patch set, and let every entry into a stage look at the page."""
    page, rank, enter = StopPage(Path(os.environ["BENCH_STOPS"])), int(os.environ["RANK"]), StageMarker.enter

    def enter_and_look(marker: StageMarker, stage: Stage, step: int | None = None) -> None:
        enter(marker, stage, step)
        if stage is Stage.FORWARD:
            page.count_forward(rank)
        page.stop_if_ordered(rank, stage.value)

    StageMarker.enter = enter_and_look  # type: ignore[method-assign, assignment]  # there is no hook for what only this bench needs
    return workload.build(config)
