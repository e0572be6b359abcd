"""The default workload with dropout, which notes on a page of memory which step each rank has begun.

Named by WORKLOAD in `bench/kills/campaign.py`. The page is the file that BENCH_STEPS names, eight bytes for each rank:
what is written there outlives a `kill -9`. The last eight bytes limit all ranks: none begins a step beyond.
"""

import mmap
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from ddp.vsr.feeding.training_data import open_training_data
from ddp.workload import Batch, Share
from service.config.settings import RunConfig
from tests.ddp.harness.gated_workload import GatedWorkload

MAX_RANKS = 64
WAIT_SECONDS = 0.002
_NUMBER = struct.Struct("<q")


class StepsBegun:
    """The step that each rank has begun, shared by all processes that open the same file."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(MAX_RANKS * _NUMBER.size))
        with path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), MAX_RANKS * _NUMBER.size)

    def note(self, rank: int, step: int) -> None:
        """This rank begins this step."""
        _NUMBER.pack_into(self._page, rank * _NUMBER.size, step)

    def of(self, rank: int) -> int:
        """The step that this rank began last, 0 before its first."""
        step: int = _NUMBER.unpack_from(self._page, rank * _NUMBER.size)[0]
        return step

    def limit(self, step: int) -> None:
        """Let no rank begin a later step until the limit is another; 0 for none."""
        self.note(MAX_RANKS - 1, step)

    def await_limit(self, step: int) -> None:
        """Wait until this step may begin."""
        while 0 < self.of(MAX_RANKS - 1) < step:
            time.sleep(WAIT_SECONDS)


class CountedWorkload(GatedWorkload):
    """One micro-batch is one step here: ACCUMULATION_STEPS must be 1."""

    def batches(self, share: Share) -> Iterator[Batch]:  # type: ignore[override]  # any batch will do
        begun = StepsBegun(Path(os.environ["BENCH_STEPS"]))
        done = share.samples_seen // (self._config.batch_size * share.world_size)
        for step, batch in enumerate(super().batches(share), start=done + 1):
            begun.await_limit(step)
            begun.note(share.rank, step)
            yield batch


def build(config: RunConfig) -> CountedWorkload:
    """Open the patch set."""
    return CountedWorkload(config, open_training_data(config))
