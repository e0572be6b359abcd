"""Memory of the loaders of one rank, and how much of a step is waiting for data.

    python -m bench.pictures.loaders          needs opencv-python-headless, which Leitstand does not

Memory: each loader runs in a process of its own, with those it starts, on a set like the original trainer's (540
GT pixels, whole patches, batches of 4). Counted is the proportional set size of all of them after 24 batches, less what
the process had before. The peer is the original's loader as it is known: `cv2.imread` of both files, RGB, float32 in
[0, 1], 4 processes, pages not pinned.

Waiting: one process computes and loads (NUM_WORKERS 0) from the packed copy; forward, backward and AdamW on one thread,
at the demonstration's size and at a real one. All times are processor time, so other load changes little.
"""

import argparse
import gc
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bench.pictures.feeding import BATCH, FRAMES, SCALE, SEED, write_set
from ddp.vsr.losses import HybridLoss
from ddp.vsr.networks.recurrent import VSR
from ddp.vsr.packed_patches import PackedPatches, write_packed
from ddp.vsr.patch_set import PatchSet
from ddp.vsr.sample_stream import PositionSampler, StreamDataset, batches_of, build_loader

GT, PAIRS, BATCHES, WORKERS = 540, 8, 24, 4
STEPS = {"demo: 32 pixels, 32 features, 10 blocks, batch 2": (192, 32, 32, 10, 2, 5)}
STEPS["real: 64 pixels, 64 features, 24 blocks, batch 4"] = (540, 64, 64, 24, 4, 1)
"""GT pixels, LR pixels of a crop, features, blocks, samples, steps."""


class OriginalPairs(Dataset[tuple[Tensor, Tensor]]):
    """The original's samples, floats in [0, 1]; its augmentation is left out, in its favour."""

    def __init__(self, patches: PatchSet) -> None:
        self._patches = patches

    def __len__(self) -> int:
        return 10**6

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        index = position % len(self._patches)
        gt, lr = (self._read(side, self._patches.names[index]) for side in ("GT", "LR"))
        height, width = self._patches.sizes[index]
        frames = lr.reshape(FRAMES, height, width, 3).transpose(0, 3, 1, 2)
        return torch.from_numpy(frames.copy()), torch.from_numpy(gt.transpose(2, 0, 1).copy())

    def _read(self, side: str, name: str) -> np.ndarray:
        import cv2

        cv2.setNumThreads(1)
        picture = cv2.cvtColor(cv2.imread(str(self._patches.folder / side / name)), cv2.COLOR_BGR2RGB)
        return picture.astype(np.float32) / 255.0


def original(root: Path, workers: int) -> Iterator[object]:
    return iter(DataLoader(OriginalPairs(opened(root)), batch_size=BATCH, num_workers=workers))


def ours(root: Path, workers: int, is_packed: bool, crop: int = 0, batch_size: int = BATCH) -> Iterator[Any]:
    patches = opened(root)
    pairs = PackedPatches(patches) if is_packed else None
    dataset = StreamDataset(patches, seed=SEED, patch_size=crop, scale=SCALE, pairs=pairs)
    sampler = PositionSampler(rank=0, world_size=1, batch_size=batch_size)
    return batches_of(build_loader(dataset, sampler, num_workers=workers, pin_memory=False, seed=SEED))


def opened(root: Path) -> PatchSet:
    return PatchSet.open(root, "Patches", FRAMES, SCALE)


LOADERS: dict[str, Callable[[Path], Iterator[object]]] = {
    "the original's, 4 processes": lambda root: original(root, WORKERS),
    "ours, PNG, 4 processes": lambda root: ours(root, WORKERS, is_packed=False),
    "ours, packed, 4 processes": lambda root: ours(root, WORKERS, is_packed=True),
    "ours, packed, in the rank": lambda root: ours(root, 0, is_packed=True),
}


def memory_of(name: str, root: Path, results: Any) -> None:
    """Put MiB of this process and those it starts, before and after batches were loaded."""
    if "original" in name:
        import cv2  # noqa: F401  what it costs to import is no part of loading
    gc.collect()
    before = tree_mebibytes()
    batches = LOADERS[name](root)
    for _ in islice(batches, BATCHES):
        pass
    results.put(tree_mebibytes() - before)
    results.close()
    results.join_thread()
    os._exit(0)  # the processes of its loader end with it


def tree_mebibytes() -> float:
    process = psutil.Process()
    family = [process, *process.children(recursive=True)]
    return sum(member.memory_full_info().pss for member in family) / 2**20


def waiting(gt: int, crop: int, n_feats: int, n_blocks: int, batch_size: int, steps: int) -> tuple[float, float]:
    """Return seconds of processor time of a step, and of waiting within it."""
    with tempfile.TemporaryDirectory() as folder:
        write_set(Path(folder), gt, PAIRS)
        write_packed(opened(Path(folder)), lambda _: None)
        batches = ours(Path(folder), 0, is_packed=True, crop=crop, batch_size=batch_size)
        network, loss = VSR(n_feats, n_blocks, FRAMES, SCALE, False), HybridLoss()
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
        waits = 0.0
        for step in range(steps + 1):
            if step == 1:  # the first one warms up
                waits, started = 0.0, time.process_time()
            asked = time.process_time()
            batch = next(batches)
            waits += time.process_time() - asked
            optimizer.zero_grad()
            loss(network(batch.lr.float() / 255), batch.gt.float() / 255)[:3].sum().backward()
            optimizer.step()
        return (time.process_time() - started) / steps, waits / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("memory", "waiting"))
    only = parser.parse_args().only
    torch.set_num_threads(1)
    if only != "waiting":
        with tempfile.TemporaryDirectory() as folder:
            write_set(Path(folder), GT, PAIRS)
            write_packed(opened(Path(folder)), lambda _: None)
            context = multiprocessing.get_context("spawn")
            for name in LOADERS:
                results = context.Queue()
                process = context.Process(target=memory_of, args=(name, Path(folder), results))
                process.start()
                print(f"{name:28} {results.get():7.0f} MiB", flush=True)  # noqa: T201  the result
                process.join()
    if only != "memory":
        for name, sizes in STEPS.items():
            step, wait = waiting(*sizes)
            print(f"{name}: step {step:.2f} s, of it waiting {1000 * wait:.2f} ms ({wait / step:.3%})", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
