"""The training data of one rank as a resettable stream whose position depends on the run's progress only."""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from ddp.distributed.world import World
from ddp.step.progress import Progress
from ddp.workload import Batch, Share, Workload
from service.errors import MemoryShortageError, UserError, plain_reason

SHARED_MEMORY = Path("/dev/shm")
_SHORTAGE_MESSAGES = ("shared memory(shm)", "</torch_", "killed by signal: Bus error")
_FROM_LOADER = " in DataLoader worker process "


class BatchStream(Iterator[Batch]):
    """Endless iterator over micro-batches from the run's current sample on. The first `next` starts the loaders."""

    def __init__(
        self,
        world: World,
        workload: Workload,
        progress: Progress,
        waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Each wait for a batch is within a `waiting()`, which may end it by an exception of its own."""
        self._world = world
        self._waiting = waiting
        self._workload = workload
        self._progress = progress
        self._batches: Iterator[Batch] | None = None

    def __next__(self) -> Batch:
        """Return the next micro-batch. Raises `MemoryShortageError` if /dev/shm is too small or unusable."""
        if self._batches is None:
            share = Share(self._world.rank, self._world.size, self._progress.position)
            self._batches = self._workload.batches(share)
        try:
            with self._waiting():
                return next(self._batches)
        except UserError as error:
            raise type(error)(_own_words(error)) from None
        except OSError:  # also where no loader process could be started, which needs semaphores there
            if (problem := shared_memory_problem()) is None:
                raise
            raise MemoryShortageError(unusable_sentence(self._world.rank, problem)) from None
        except RuntimeError as error:
            if not is_shared_memory_shortage(error):
                raise
        raise MemoryShortageError(shared_memory_sentence(self._world.rank))

    def reset(self) -> None:
        """Restart at the progress's current sample; stop the loader processes."""
        self.close()

    def close(self) -> None:
        """Stop the loader processes. They ignore signals, so the interpreter's exit would wait for them forever."""
        self._batches = None


def is_shared_memory_shortage(error: RuntimeError) -> bool:
    """Whether a loader process could not put a batch into shared memory, or was killed while it did."""
    return any(message in str(error) for message in _SHORTAGE_MESSAGES)


def shared_memory_problem() -> str | None:
    """Return why nothing can be written to the shared memory, or None if something can."""
    if sys.platform != "linux":  # other systems have no such folder
        return None
    try:
        with tempfile.TemporaryFile(dir=SHARED_MEMORY) as file:
            file.write(bytes(1))
    except OSError as error:
        return plain_reason(error)
    return None


def unusable_sentence(rank: int, problem: str) -> str:
    """Build the error message for a shared memory that cannot be written, and what helps."""
    return (
        f"The loader processes of rank {rank} cannot use the shared memory {SHARED_MEMORY} ({problem}): mount a tmpfs "
        "there that this user may write, or set NUM_WORKERS=0, which needs none."
    )


def shared_memory_sentence(rank: int) -> str:
    """Build the error message with the size of the shared memory, and what helps."""
    usage = shutil.disk_usage(SHARED_MEMORY)
    return (
        f"The loader processes of rank {rank} need more shared memory than {SHARED_MEMORY} has ({usage.total >> 20} "
        f"MiB, {usage.free >> 20} MiB of it free): enlarge it (docker run --shm-size=8g, SHM_SIZE with Compose, "
        "mount -o remount,size=8g), or set a smaller NUM_WORKERS or BATCH_SIZE; NUM_WORKERS=0 needs none."
    )


def _own_words(error: UserError) -> str:
    """Return an error's text without the traceback that torch puts before it if it comes from a loader process."""
    text = str(error)
    return text.rpartition(f"{type(error).__name__}: ")[2].strip() if _FROM_LOADER in text else text
