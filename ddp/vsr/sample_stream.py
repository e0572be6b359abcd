"""The order of the training samples: an endless stream of positions, and the sample at each of them.

    position   0 1 2 … n-1 | n … 2n-1 | …      epoch = position // n, a permutation of all samples in each
    step       world · batch · accumulation consecutive positions; rank r's micro-batch m is one block of them

The sample of a position depends on the position and the seed only, not on the number of ranks or workers or on earlier
reads. So a run resumes at any position without cost and on any number of ranks. Never changes torch's, numpy's or
Python's global random state, and uses no process groups.

Legend: B = batch; T = frames; h, w = LR size; H, W = GT size.
"""

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from ddp.vsr.patch_set import CorruptImageError, PatchSet
from service.errors import DatasetError
from service.launcher.parent_death import end_with_parent
from service.launcher.termination import TERMINATION

LAST_READ_SECONDS = 5.0
REPLACEMENT_TRIES = 100
_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15
_ORDER, _AUGMENTATION = 1, 2  # separate the two uses of one seed


class Augmentation(NamedTuple):
    """Augmentation of all frames of a sample; `top` and `left` are fractions of the largest possible offset."""

    flip_horizontal: bool
    flip_vertical: bool
    quarter_turns: int
    top: float
    left: float


class Sample(NamedTuple):
    """One sample, and `name: reason` of the unreadable files that it replaces."""

    lr: Tensor  # (T, 3, h, w) uint8
    gt: Tensor  # (3, H, W) uint8
    skipped: tuple[str, ...]


class PatchBatch(NamedTuple):
    """One micro-batch of one rank. (Pinning memory converts `skipped` to a list.)"""

    lr: Tensor  # (B, T, 3, h, w) uint8
    gt: Tensor  # (B, 3, H, W) uint8
    skipped: tuple[str, ...]


def sample_at(position: int, n_samples: int, seed: int) -> int:
    """Return the sample at a position of the stream; each epoch is another permutation of `n_samples`."""
    epoch, slot = divmod(position, n_samples)
    return int(_permutation(n_samples, seed, epoch)[slot])


def augmentation_at(position: int, seed: int) -> Augmentation:
    """Return the augmentation at a position: flips with p = 1/2, a rotation by 0 to 3 quarter turns, a crop offset."""
    bits, rows, columns = (hash_numbers(seed, _AUGMENTATION, position, part) for part in range(3))
    top, left = ((number >> 11) / 2**53 for number in (rows, columns))  # 53 bits: a float below 1, never rounded to it
    return Augmentation(bool(bits & 1), bool(bits & 2), bits >> 2 & 3, top, left)


@lru_cache(maxsize=8)
def _permutation(n_samples: int, seed: int, epoch: int) -> NDArray[np.intp]:
    """Return a random permutation of range(n_samples), sorted by hash to be independent of numpy's version."""
    start = np.uint64(hash_numbers(seed, _ORDER, epoch))
    with np.errstate(over="ignore"):
        return np.argsort(_mix_all(start + np.arange(n_samples, dtype=np.uint64) * np.uint64(_GOLDEN)), kind="stable")


def hash_numbers(*numbers: int) -> int:
    """Return a 64-bit hash of whole numbers: SplitMix64's finalizer chained over them."""
    state = 0
    for number in numbers:
        state = _mix((state ^ (number & _MASK)) + _GOLDEN)
    return state


def _mix(state: int) -> int:
    """Apply SplitMix64's finalizer (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014)."""
    state &= _MASK
    state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    state = (state ^ state >> 27) * 0x94D049BB133111EB & _MASK
    return state ^ state >> 31


def _mix_all(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Apply `_mix` to every element; it is a bijection, so different states never tie."""
    state = (state ^ state >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ state >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return state ^ state >> np.uint64(31)


class Pairs(Protocol):
    """Pairs of a patch set by index, read from its files or a copy."""

    def read(self, index: int) -> tuple[Tensor, Tensor]:
        """Return LR (T, 3, h, w) and GT (3, H, W), uint8. Raises `CorruptImageError`."""


class StreamDataset(Dataset[Sample]):
    """Training samples by position. Reading changes no state, so workers need no synchronization."""

    def __init__(
        self, patches: PatchSet, *, seed: int, patch_size: int, scale: int, pairs: Pairs | None = None
    ) -> None:
        """Crop to `patch_size` LR pixels per side; 0 keeps whole patches. `pairs` reads those of `patches`, or a copy.

        Raises DatasetError if the patches have no common size to batch.
        """
        self._patches = patches
        self._pairs: Pairs = pairs or patches
        self._seed = seed
        self._patch_size = patch_size
        self._scale = scale
        _check_sizes(patches, patch_size)
        height, width = patches.sizes[0]
        self._is_square = patch_size > 0 or height == width

    def __getitem__(self, position: int) -> Sample:
        """Return the sample at a position, or the next readable one of its epoch. Raises DatasetError without one."""
        epoch, slot = divmod(position, len(self._patches))
        skipped: list[str] = []
        for attempt in range(min(REPLACEMENT_TRIES, len(self._patches))):
            replacement = epoch * len(self._patches) + (slot + attempt) % len(self._patches)
            try:
                lr, gt = self._pairs.read(sample_at(replacement, len(self._patches), self._seed))
            except CorruptImageError as error:
                skipped.append(str(error))
                continue
            lr, gt = self._augment(lr, gt, augmentation_at(position, self._seed))
            return Sample(lr, gt, tuple(skipped))
        raise DatasetError(
            f"{len(skipped)} training samples in a row cannot be read, from {skipped[0]} to {skipped[-1]} "
            f"in {self._patches.folder}: check the disk and the files"
        )

    def _augment(self, lr: Tensor, gt: Tensor, augmentation: Augmentation) -> tuple[Tensor, Tensor]:
        """Crop, flip and rotate both images equally; patches that are not square are rotated by half turns only."""
        if self._patch_size:
            lr, gt = self._crop(lr, gt, augmentation)
        flips = [-1] * augmentation.flip_horizontal + [-2] * augmentation.flip_vertical
        turns = augmentation.quarter_turns if self._is_square else augmentation.quarter_turns & 2
        lr, gt = (torch.rot90(image.flip(flips), turns, (-2, -1)).contiguous() for image in (lr, gt))
        return lr, gt

    def _crop(self, lr: Tensor, gt: Tensor, augmentation: Augmentation) -> tuple[Tensor, Tensor]:
        size, s = self._patch_size, self._scale
        top = int(augmentation.top * (lr.shape[-2] - size + 1))
        left = int(augmentation.left * (lr.shape[-1] - size + 1))
        lr = lr[..., top : top + size, left : left + size]
        gt = gt[..., s * top : s * (top + size), s * left : s * (left + size)]
        return lr, gt


def _check_sizes(patches: PatchSet, patch_size: int) -> None:
    sizes = sorted(set(patches.sizes))
    text = ", ".join(f"{width}x{height}" for height, width in sizes[:5]) + (", …" if len(sizes) > 5 else "")
    smallest = min(min(size) for size in sizes)
    if patch_size == 0 and len(sizes) > 1:
        raise DatasetError(
            f"{patches.folder} holds LR patches of different sizes ({text}), which make no common batch: "
            f"set PATCH_SIZE to at most {smallest}, so that all are cropped to one size"
        )
    if patch_size > smallest:
        raise DatasetError(
            f"PATCH_SIZE is {patch_size}, but {patches.folder} holds LR patches of {text}: set it to at most {smallest}"
        )


class PositionSampler(Sampler[list[int]]):
    """Endless sampler of the positions of one rank, one list per micro-batch.

    Over all ranks a step covers the `world_size * batch_size` positions per micro-batch after `samples_seen` exactly
    once, whatever the number of ranks.
    """

    def __init__(self, *, rank: int, world_size: int, batch_size: int, samples_seen: int = 0) -> None:
        self._rank = rank
        self._world_size = world_size
        self._batch_size = batch_size
        self._samples_seen = samples_seen

    def __iter__(self) -> Iterator[list[int]]:
        # Micro-batches follow each other without a gap, and so do steps.
        start = self._samples_seen + self._rank * self._batch_size
        while True:
            yield list(range(start, start + self._batch_size))
            start += self._world_size * self._batch_size


def build_loader(
    dataset: Dataset[Sample], sampler: PositionSampler, *, num_workers: int, pin_memory: bool, seed: int
) -> DataLoader[PatchBatch]:
    """Build the loader of one rank. `num_workers` 0 reads in the caller's thread; memory is pinned only for a GPU.

    It has its own generator, so that starting it does not change torch's global random state.
    """
    generator = torch.Generator().manual_seed(seed)
    loader: DataLoader[PatchBatch] = DataLoader(
        dataset,  # type: ignore[arg-type]  # it contains Sample, the loader returns the result of `collate`
        batch_sampler=sampler,
        num_workers=num_workers,
        collate_fn=collate,
        pin_memory=pin_memory and torch.cuda.is_available(),
        persistent_workers=num_workers > 0,
        generator=generator,
        worker_init_fn=partial(begin_loader_process, os.getpid()),
    )
    return loader


def batches_of(loader: DataLoader[PatchBatch]) -> Iterator[PatchBatch]:
    """Yield the loader's batches; stop its processes when an error comes from one, or the iterator is closed.

    They ignore SIGTERM, so the interpreter's exit would wait for ever for one that hangs, or that is still referred to
    by an error's traceback.
    """
    batches = iter(loader)
    try:
        yield from batches
    finally:
        if loader.num_workers:
            _end_workers(batches)


def _end_workers(batches: Any) -> None:
    """End the processes of a loader's iterator; those that read on for LAST_READ_SECONDS are killed.

    Torch would wait for one after the other, so that twelve which hang take a minute, and a launcher kills the rank.
    """
    processes = batches._workers  # torch has no public way
    killing = threading.Timer(LAST_READ_SECONDS, _kill, (processes,))
    killing.daemon = True
    killing.start()
    with suppress(RuntimeError):  # that one was killed
        batches._shutdown_workers()
    killing.cancel()
    _kill(processes)


def _kill(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.kill()


def begin_loader_process(rank_pid: int, _worker: int) -> None:
    """Ignore shutdown signals in a loader process, and let the kernel kill it when its rank ends.

    Launchers signal the whole process group; a rank without its loaders could not finish its step and save. The rank
    stops its loaders.
    """
    for number in TERMINATION:
        signal.signal(number, signal.SIG_IGN)
    end_with_parent(signal.SIGKILL, rank_pid)


def collate(samples: Sequence[Sample]) -> PatchBatch:
    """Stack samples of equal size into a batch.

    A loader process puts it into shared memory here. Otherwise torch would do so in a thread, where an error (/dev/shm
    is full) loses the batch, for which the rank would wait for ever.
    """
    lr = torch.stack([sample.lr for sample in samples])
    gt = torch.stack([sample.gt for sample in samples])
    if get_worker_info() is not None:
        lr, gt = lr.share_memory_(), gt.share_memory_()
    return PatchBatch(lr, gt, tuple(name for sample in samples for name in sample.skipped))
