"""The order of training: every sample once per epoch, the same for any number of ranks, workers and restarts."""

import multiprocessing
import os
import pickle
import random
import threading
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ddp.vsr.patch_set import PatchSet
from ddp.vsr.sample_stream import (
    PatchBatch,
    PositionSampler,
    Sample,
    StreamDataset,
    augmentation_at,
    batches_of,
    build_loader,
    sample_at,
)
from service.errors import DatasetError

T, SCALE, SIZE = 3, 2, 8


def put_set(root: Path, count: int, height: int = SIZE, width: int = SIZE) -> PatchSet:
    """Pairs whose GT is the nearest-neighbour enlargement of their middle frame, and whose pixels are all different."""
    for kind in ("GT", "LR"):
        (root / "Patches" / kind).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        frames = np.random.default_rng(number).integers(0, 256, (T, height, width, 3), dtype=np.uint8)
        gt = frames[T // 2].repeat(SCALE, axis=0).repeat(SCALE, axis=1)
        Image.fromarray(np.concatenate(frames)).save(root / f"Patches/LR/{number:03d}.png")
        Image.fromarray(gt).save(root / f"Patches/GT/{number:03d}.png")
    return PatchSet.open(root, "Patches", T, SCALE)


def dataset_of(patches: PatchSet, patch_size: int = 0, seed: int = 0) -> StreamDataset:
    return StreamDataset(patches, seed=seed, patch_size=patch_size, scale=SCALE)


def sampler_of(rank: int = 0, world_size: int = 1, batch_size: int = 2, samples_seen: int = 0) -> PositionSampler:
    return PositionSampler(rank=rank, world_size=world_size, batch_size=batch_size, samples_seen=samples_seen)


def loaded(
    patches: PatchSet, count: int, *, num_workers: int = 0, samples_seen: int = 0, patch_size: int = 0
) -> list[PatchBatch]:
    loader = build_loader(
        dataset_of(patches, patch_size),
        sampler_of(samples_seen=samples_seen),
        num_workers=num_workers,
        pin_memory=False,
        seed=0,
    )
    return list(islice(iter(loader), count))


GOLDEN = 0x9E3779B97F4A7C15


def mixed(state: int) -> int:
    """SplitMix64's finalizer, as its paper has it."""
    state &= 2**64 - 1
    state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    state = (state ^ state >> 27) * 0x94D049BB133111EB % 2**64
    return state ^ state >> 31


def hash_of(*numbers: int) -> int:
    state = 0
    for number in numbers:
        state = mixed((state ^ number) + GOLDEN)
    return state


def test_the_mixer_is_splitmix64() -> None:
    """The first outputs of SplitMix64 from seed 1234567, as its reference implementations give them."""
    outputs = [mixed(1234567 + i * GOLDEN) for i in range(1, 4)]
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_the_augmentation_is_the_hash_of_seed_and_position() -> None:
    for position in range(50):
        bits, rows, columns = (hash_of(7, 2, position, part) for part in range(3))
        flips_and_turns = (bool(bits & 1), bool(bits & 2), bits >> 2 & 3)
        assert augmentation_at(position, 7) == (*flips_and_turns, (rows >> 11) / 2**53, (columns >> 11) / 2**53)


@pytest.mark.parametrize("n_samples", [1, 2, 7, 480])
def test_every_epoch_is_a_permutation_of_its_own(n_samples: int) -> None:
    epochs = [[sample_at(e * n_samples + i, n_samples, seed=5) for i in range(n_samples)] for e in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(n_samples))
    if n_samples > 2:
        assert epochs[0] != epochs[1] != epochs[2]
        assert epochs[0] != [sample_at(i, n_samples, seed=6) for i in range(n_samples)]


def test_the_order_is_the_stable_sort_of_hashes_and_does_not_change_between_versions() -> None:
    """Runs resume bit by bit only as long as these numbers stay."""
    keys = [mixed(hash_of(7, 1, 2) + i * GOLDEN) for i in range(10)]
    expected = sorted(range(10), key=keys.__getitem__)
    third_epoch = [sample_at(2 * 10 + slot, 10, seed=7) for slot in range(10)]
    assert third_epoch == expected == [6, 7, 1, 0, 3, 5, 4, 2, 8, 9]


def test_the_order_looks_random() -> None:
    """Over many epochs every sample stands first about equally often."""
    firsts = Counter(sample_at(epoch * 8, 8, seed=0) for epoch in range(4000))
    assert len(firsts) == 8
    assert all(abs(count - 500) < 5 * 21 for count in firsts.values())  # binomial: standard deviation 20.9


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize(("n_samples", "batch_size", "accumulation"), [(13, 3, 1), (10, 2, 3), (7, 4, 2)])
def test_every_sample_comes_once_per_epoch_on_any_number_of_ranks(
    world_size: int, n_samples: int, batch_size: int, accumulation: int
) -> None:
    """Sizes that do not divide: an epoch ends inside a step, and still no sample is lost or doubled."""
    micro_batches = 6 * accumulation
    positions: list[int] = []
    for rank in range(world_size):
        sampler = PositionSampler(rank=rank, world_size=world_size, batch_size=batch_size, samples_seen=0)
        for block in islice(sampler, micro_batches):
            assert block == list(range(block[0], block[0] + batch_size))
            positions += block
    assert sorted(positions) == list(range(world_size * batch_size * micro_batches))
    epochs = len(positions) // n_samples
    counts = Counter(sample_at(position, n_samples, seed=1) for position in positions if position < epochs * n_samples)
    assert counts == dict.fromkeys(range(n_samples), epochs)


@pytest.mark.parametrize("accumulation", [1, 3])
def test_a_step_covers_the_positions_after_samples_seen_whatever_the_world(accumulation: int) -> None:
    for world_size, batch_size in ((1, 12), (2, 6), (3, 4), (4, 3)):
        step: list[int] = []
        for rank in range(world_size):
            sampler = PositionSampler(rank=rank, world_size=world_size, batch_size=batch_size, samples_seen=100)
            for block in islice(sampler, accumulation):
                step += block
        assert sorted(step) == list(range(100, 100 + 12 * accumulation))


def test_resuming_far_into_the_stream_costs_nothing(tmp_path: Path) -> None:
    """Whoever walked there would never arrive."""
    patches = put_set(tmp_path, 6)
    (batch,) = loaded(patches, 1, samples_seen=10**15)
    for i, position in enumerate((10**15, 10**15 + 1)):
        assert torch.equal(batch.lr[i], dataset_of(patches)[position].lr)


@pytest.mark.parametrize("patch_size", [0, 5])
def test_all_frames_and_gt_are_augmented_alike(tmp_path: Path, patch_size: int) -> None:
    dataset = dataset_of(put_set(tmp_path, 2), patch_size)
    size = patch_size or SIZE
    for position in range(64):
        lr, gt, _ = dataset[position]
        assert lr.shape == (T, 3, size, size)
        assert gt.shape == (3, SCALE * size, SCALE * size)
        assert torch.equal(gt, lr[T // 2].repeat_interleave(SCALE, 1).repeat_interleave(SCALE, 2))


def test_whole_patches_come_in_all_eight_orientations_equally_often(tmp_path: Path) -> None:
    patches = put_set(tmp_path, 1)
    dataset = dataset_of(patches)
    original, _ = patches.read(0)
    orientations = [torch.rot90(image, k, (-2, -1)) for image in (original, original.flip(-1)) for k in range(4)]

    def orientation_of(image: Tensor) -> int:
        return next(i for i, candidate in enumerate(orientations) if torch.equal(candidate, image))

    counts = Counter(orientation_of(dataset[position].lr) for position in range(400))
    assert len(counts) == 8
    assert all(abs(count - 50) < 5 * 6.6 for count in counts.values())  # binomial: standard deviation 6.6


def test_crops_reach_every_place_and_never_leave_the_patch() -> None:
    offsets = {int(augmentation_at(position, seed=0).top * 4) for position in range(200)}
    assert offsets == {0, 1, 2, 3}
    assert all(0 <= part < 1 for position in range(200) for part in augmentation_at(position, 3)[3:])


def test_patches_that_are_not_square_keep_their_shape(tmp_path: Path) -> None:
    dataset = dataset_of(put_set(tmp_path, 2, height=6, width=10))
    assert {dataset[position].lr.shape for position in range(32)} == {(T, 3, 6, 10)}


def test_an_unreadable_pair_is_replaced_by_the_next_of_its_epoch_and_named(tmp_path: Path) -> None:
    patches = put_set(tmp_path, 5)
    path = tmp_path / "Patches/GT/003.png"
    path.write_bytes(path.read_bytes()[:80])
    dataset = dataset_of(patches)
    slots = set()
    for epoch in range(30):
        order = [sample_at(5 * epoch + slot, 5, seed=0) for slot in range(5)]
        slot = order.index(3)
        slots.add(slot)
        follower, _ = patches.read(order[(slot + 1) % 5])  # after the last of an epoch comes its first
        sample = dataset[5 * epoch + slot]
        assert [text.partition(":")[0] for text in sample.skipped] == ["GT/003.png"]
        assert "truncated" in sample.skipped[0]
        assert sorted(sample.lr.flatten().tolist()) == sorted(follower.flatten().tolist())
        assert all(dataset[5 * epoch + other].skipped == () for other in range(5) if other != slot)
    assert slots == set(range(5))
    names = [name for batch in loaded(patches, 10, num_workers=1) for name in batch.skipped]
    assert [name.partition(":")[0] for name in names] == ["GT/003.png"] * 4  # 20 positions are four epochs of five


def test_a_set_that_went_bad_as_a_whole_ends_with_an_error(tmp_path: Path) -> None:
    patches = put_set(tmp_path, 4)
    for path in (tmp_path / "Patches/LR").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DatasetError, match=r"4 training samples in a row cannot be read, from LR/00\d\.png"):
        dataset_of(patches)[0]


def test_workers_change_nothing(tmp_path: Path) -> None:
    patches = put_set(tmp_path, 7)
    for alone, shared in zip(loaded(patches, 8), loaded(patches, 8, num_workers=2), strict=True):
        assert torch.equal(alone.lr, shared.lr)
        assert torch.equal(alone.gt, shared.gt)
        assert (alone.lr.dtype, alone.lr.shape) == (torch.uint8, (2, T, 3, SIZE, SIZE))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_loading_leaves_every_global_random_state_as_it_was(tmp_path: Path, num_workers: int) -> None:
    patches = put_set(tmp_path, 4)
    before = torch.get_rng_state(), random.getstate(), pickle.dumps(np.random.get_state())
    loaded(patches, 5, num_workers=num_workers, patch_size=4)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert pickle.dumps(np.random.get_state()) == before[2]


def test_mixed_sizes_need_a_crop_and_the_error_names_one_that_fits(tmp_path: Path) -> None:
    put_set(tmp_path, 4)
    put_set(tmp_path, 2, height=6, width=10)
    patches = PatchSet.open(tmp_path, "Patches", T, SCALE)
    with pytest.raises(DatasetError, match=r"different sizes \(10x6, 8x8\).* set PATCH_SIZE to at most 6"):
        dataset_of(patches)
    with pytest.raises(DatasetError, match=r"PATCH_SIZE is 7, but .* holds LR patches of 10x6, 8x8"):
        dataset_of(patches, patch_size=7)
    assert {dataset_of(patches, patch_size=6)[position].lr.shape for position in range(12)} == {(T, 3, 6, 6)}


def test_the_dataset_can_be_sent_to_another_process(tmp_path: Path) -> None:
    dataset = dataset_of(put_set(tmp_path, 2))
    copy = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(copy[1].lr, dataset[1].lr)


def test_workers_end_with_their_loader(tmp_path: Path) -> None:
    loader = build_loader(dataset_of(put_set(tmp_path, 4)), sampler_of(), num_workers=1, pin_memory=False, seed=0)
    before = {*multiprocessing.active_children()}
    batches = iter(loader)
    next(batches)
    (worker,) = {*multiprocessing.active_children()} - before
    assert worker.pid != os.getpid()
    del batches, loader
    worker.join(20)
    assert not worker.is_alive()


class HangingDataset(StreamDataset):
    """Reads its first samples, then hangs, as on a network folder that does not answer any more."""

    hanging = multiprocessing.get_context("fork").Value("i", 0)

    def __getitem__(self, position: int) -> Sample:
        if position < 2:
            return super().__getitem__(position)
        with self.hanging.get_lock():
            self.hanging.value += 1
        threading.Event().wait()
        raise AssertionError


def test_workers_that_hang_are_killed_together_and_not_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., None]
) -> None:
    # Far beyond the test's own time limit: torch would wait so long for each worker.
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 1000.0)
    monkeypatch.setattr("ddp.vsr.sample_stream.LAST_READ_SECONDS", 0.1)
    dataset = HangingDataset(put_set(tmp_path, 40), seed=0, patch_size=0, scale=SCALE)
    others = set(multiprocessing.active_children())  # of earlier tests of this process
    stream = batches_of(build_loader(dataset, sampler_of(), num_workers=2, pin_memory=False, seed=0))
    next(stream)
    eventually(lambda: dataset.hanging.value == 2, what="two hanging workers")
    workers = set(multiprocessing.active_children()) - others

    stream.close()  # type: ignore[attr-defined]

    assert len(workers) == 2
    assert not any(worker.is_alive() for worker in workers)
