"""The training data of one rank, as one stream that can be set back: what comes next depends on the progress alone."""

from collections.abc import Iterator

from ddp.distributed.world import World
from ddp.step.progress import Progress
from ddp.workload import Batch, Share, Workload


class BatchStream(Iterator[Batch]):
    """Micro-batches without end, from the sample on that the run has reached. Reading begins with the first `next`."""

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
        """Begin again at the sample that the progress names; ends the loader processes there were."""
        self.close()

    def close(self) -> None:
        """End the loader processes. They ignore signals, so the interpreter's exit would wait for them in vain."""
        self._batches = None
