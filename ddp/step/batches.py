"""The training data of one rank as a resettable stream whose position depends on the run's progress only."""

from collections.abc import Iterator

from ddp.distributed.world import World
from ddp.step.progress import Progress
from ddp.workload import Batch, Share, Workload


class BatchStream(Iterator[Batch]):
    """Endless iterator over micro-batches from the run's current sample on. The first `next` starts the loaders."""

    def __init__(self, world: World, workload: Workload, progress: Progress) -> None:
        self._world = world
        self._workload = workload
        self._progress = progress
        self._batches: Iterator[Batch] | None = None

    def __next__(self) -> Batch:
        if self._batches is None:
            share = Share(self._world.rank, self._world.size, self._progress.samples_seen)
            self._batches = self._workload.batches(share)
        return next(self._batches)

    def reset(self) -> None:
        """Restart at the progress's current sample; stop the loader processes."""
        self.close()

    def close(self) -> None:
        """Stop the loader processes. They ignore signals, so the interpreter's exit would wait for them forever."""
        self._batches = None
