"""Patches per second of processor time: the packed copy of a patch set, against its PNG files read with OpenCV.

    python -m bench.pictures.feeding          needs opencv-python-headless, which Leitstand does not, and lmdb

Beside them, the same PNG files in LMDB databases and tar shards, and what degrading LR costs: JPEG, H.264.

Both feed the same crops of the same pairs, in batches, in this process: ours through its loader, with its order, flips
and turns; the peer as most frameworks do it: `cv2.imread` of both files, crop, the same flips and turns in numpy, and a
plain DataLoader. Rounds are interleaved; each figure is the median of the rounds, the ratio that of each round.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ddp.vsr.feeding.containers.export import export
from ddp.vsr.feeding.noise import NoiseRange, NoisyDataset
from ddp.vsr.packed_patches import PackedPatches, write_packed
from ddp.vsr.patch_set import PatchSet
from ddp.vsr.sample_stream import (
    PositionSampler,
    Sample,
    StreamDataset,
    augmentation_at,
    batches_of,
    build_loader,
    sample_at,
)

FRAMES, SCALE, BATCH, SEED = 5, 3, 4, 0
SIZES = {"demo, 192": (192, 32, 400), "original, 540": (540, 64, 60)}
"""GT pixels, LR pixels of a crop, batches in a round."""
NOISES = {"packed, JPEG": NoiseRange(jpeg_quality=30), "packed, H.264": NoiseRange(codec_crf=40)}


def natural(random: np.random.Generator, size: int, frames: int) -> np.ndarray:
    """A panned picture with the spectrum of natural ones, (frames, size, size, 3) uint8."""
    side = size + 2 * frames
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    frequency[0, 0] = np.inf
    shape = (3, *frequency.shape)
    spectrum = (random.normal(size=shape) + 1j * random.normal(size=shape)) / frequency**1.2
    planes = np.fft.irfft2(spectrum, (side, side))
    picture = (120 + 40 * planes / planes.std()).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
    return np.stack([picture[2 * i : 2 * i + size, :size] for i in range(frames)])


def write_set(root: Path, size: int, count: int) -> None:
    random = np.random.default_rng(SEED)
    for side in ("GT", "LR"):
        (root / "Patches" / side).mkdir(parents=True)
    for index in range(count):
        frames = natural(random, size, FRAMES)
        Image.fromarray(frames[FRAMES // 2]).save(root / "Patches/GT" / f"{index:03d}.png", compress_level=1)
        small = frames.reshape(FRAMES, size // SCALE, SCALE, size // SCALE, SCALE, 3).mean(axis=(2, 4))
        stacked = small.reshape(-1, size // SCALE, 3).astype(np.uint8)
        Image.fromarray(stacked).save(root / "Patches/LR" / f"{index:03d}.png", compress_level=1)


class OpenCvPairs(Dataset[tuple[Tensor, Tensor]]):
    """The peer's samples by position: the same pairs, crops, flips and turns."""

    def __init__(self, patches: PatchSet, crop: int) -> None:
        import cv2

        cv2.setNumThreads(1)
        self._cv2 = cv2
        self._patches = patches
        self._crop = crop

    def __len__(self) -> int:
        return 10**9

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        index = sample_at(position, len(self._patches), SEED)
        name, (height, width) = self._patches.names[index], self._patches.sizes[index]
        gt, lr = (self._read(side, name) for side in ("GT", "LR"))
        frames = lr.reshape(FRAMES, height, width, 3)
        how, size = augmentation_at(position, SEED), self._crop
        top, left = int(how.top * (height - size + 1)), int(how.left * (width - size + 1))
        frames = frames[:, top : top + size, left : left + size]
        gt = gt[SCALE * top : SCALE * (top + size), SCALE * left : SCALE * (left + size)]
        axes = (-2,) * how.flip_horizontal + (-3,) * how.flip_vertical
        made = [np.rot90(np.flip(x, axes), how.quarter_turns, (-3, -2)) for x in (frames, gt)]
        frames, gt = (np.ascontiguousarray(np.moveaxis(x, -1, -3)) for x in made)
        return torch.from_numpy(frames), torch.from_numpy(gt)

    def _read(self, side: str, name: str) -> np.ndarray:
        picture = self._cv2.imread(str(self._patches.folder / side / name))
        return self._cv2.cvtColor(picture, self._cv2.COLOR_BGR2RGB)


def ours(
    patches: PatchSet, crop: int, pairs: PackedPatches | None = None, noise: NoiseRange | None = None
) -> Iterator[object]:
    dataset: Dataset[Sample] = StreamDataset(patches, seed=SEED, patch_size=crop, scale=SCALE, pairs=pairs)
    if noise:
        dataset = NoisyDataset(dataset, noise, SEED)
    sampler = PositionSampler(rank=0, world_size=1, batch_size=BATCH)
    return batches_of(build_loader(dataset, sampler, num_workers=0, pin_memory=False, seed=SEED))


def peers(patches: PatchSet, crop: int) -> Iterator[object]:
    return iter(DataLoader(OpenCvPairs(patches, crop), batch_size=BATCH, num_workers=0))


def patches_per_second(batches: Iterator[object], count: int) -> float:
    """Patches per second of processor time."""
    next(batches)
    started = time.process_time()
    for _ in islice(batches, count):
        pass
    return count * BATCH / (time.process_time() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=60, help="pairs of a set")
    parser.add_argument("--rounds", type=int, default=5)
    parsed = parser.parse_args()
    count = parsed.count
    torch.set_num_threads(1)
    for label, (size, crop, batch_count) in SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            write_set(Path(folder), size, count)
            patches = PatchSet.open(Path(folder), "Patches", FRAMES, SCALE)
            write_packed(patches, lambda _: None)
            feeds = {"packed": ours(patches, crop, PackedPatches(patches)), "our PNG": ours(patches, crop)}
            feeds["OpenCV PNG"] = peers(patches, crop)
            for container in ("lmdb", "shards"):
                export([patches], Path(folder, container), container, lambda _: None)
                feeds[container] = ours(PatchSet.open(Path(folder, container), "Patches", FRAMES, SCALE), crop)
            for name, noise in NOISES.items():
                feeds[name] = ours(patches, crop, PackedPatches(patches), noise)
            for one, other in zip(islice(feeds["packed"], 3), islice(feeds["OpenCV PNG"], 3), strict=True):
                assert torch.equal(one.lr, other[0])  # type: ignore[attr-defined,index]
                assert torch.equal(one.gt, other[1])  # type: ignore[attr-defined,index]
            rounds = [one_round(feeds, batch_count) for _ in range(parsed.rounds)]
        for name in feeds:
            rate = statistics.median(row[name] for row in rounds)
            ratios = sorted(row["packed"] / row[name] for row in rounds)
            text = f"packed is {statistics.median(ratios):.1f} x ({ratios[0]:.1f}–{ratios[-1]:.1f})"
            print(f"{label:14} {name:13} {rate:9.0f} patches/s; {text}", flush=True)  # noqa: T201  the result


def one_round(feeds: dict[str, Iterator[object]], batch_count: int) -> dict[str, float]:
    """Of the slow ones fewer batches."""
    counts = {name: batch_count if name == "packed" else batch_count // 8 for name in feeds}
    return {name: patches_per_second(feed, counts[name]) for name, feed in feeds.items()}


if __name__ == "__main__":
    main()
