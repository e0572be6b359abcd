"""Training on several patch sets, as the workload opens them."""

from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddp.vsr import workload
from ddp.workload import Share, UnreadableImageError
from service.config.settings import RunConfig
from service.errors import DatasetError


def put_source(root: Path, level: int, count: int, size: int = 8) -> Path:
    """A set whose pixels are all `level`, so that a sample tells where it comes from; its pictures are `count`."""
    for side, number in (("Patches", count), ("Val", 2)):
        for kind in ("GT", "LR"):
            (root / side / kind).mkdir(parents=True)
        for index in range(number):
            Image.fromarray(np.full((3 * size, 3 * size, 3), level, np.uint8)).save(root / side / f"GT/{index}.png")
            Image.fromarray(np.full((5 * size, size, 3), level, np.uint8)).save(root / side / f"LR/{index}.png")
    return root


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    day, night = put_source(tmp_path / "day", 200, 6), put_source(tmp_path / "night", 50, 4)
    return RunConfig(dataset_root=day, data_sources=f"{night}:0.25", n_feats=4, n_blocks=2, num_workers=0, batch_size=5)


def levels(config: RunConfig, rank: int, world_size: int, batches: int, samples_seen: int = 0) -> list[int]:
    stream = workload.build(config).batches(Share(rank, world_size, samples_seen))
    return [int(level) for batch in islice(stream, batches) for level in batch.gt[:, 0, 0, 0]]


def test_samples_come_in_proportion_to_the_weights(config: RunConfig) -> None:
    found = levels(config, 0, 1, 10)

    assert Counter(found) == {200: 40, 50: 10}
    assert all(Counter(found[first : first + 5]) == {200: 4, 50: 1} for first in range(0, 50, 5))


def test_ranks_share_one_stream_and_a_resume_goes_on_in_it(config: RunConfig) -> None:
    straight = levels(config, 0, 1, 8)
    of_ranks = [levels(config, rank, 2, 4) for rank in (0, 1)]
    joined = [level for step in range(4) for rank in (0, 1) for level in of_ranks[rank][5 * step : 5 * step + 5]]

    assert joined == straight
    assert levels(config, 0, 1, 3, samples_seen=25) == straight[25:]


def test_validation_images_of_all_sources_are_one_list_and_say_their_source(config: RunConfig, tmp_path: Path) -> None:
    built = workload.build(config)

    assert list(built.validation_images.names) == ["day__0.png", "day__1.png", "night__0.png", "night__1.png"]
    assert [int(built.validation_images.read(i)[1][0, 0, 0]) for i in range(4)] == [200, 200, 50, 50]
    (tmp_path / "night/Val/GT/0.png").write_bytes(b"")
    with pytest.raises(UnreadableImageError, match=r"GT/0\.png"):
        built.validation_images.read(2)


def test_shares_are_said_and_other_weights_are_other_data(config: RunConfig) -> None:
    built = workload.build(config)
    other = workload.build(replace(config, data_sources=config.data_sources.replace("0.25", "0.5")))

    assert built.sample_count == 10
    (line,) = [line for line in built.notices if "Training samples" in line]
    assert line == (
        f"Training samples come from 2 patch sets: 80.0% from {config.dataset_root} (6 pairs), "
        f"20.0% from {config.dataset_root.parent / 'night'} (4 pairs)."
    )
    assert built.training_fingerprint != other.training_fingerprint
    assert built.validation_fingerprint == other.validation_fingerprint


def test_one_source_is_read_as_it_was_before_there_were_several(config: RunConfig) -> None:
    alone = replace(config, data_sources="")
    named = replace(config, data_sources=f"{config.dataset_root}:3")
    first, second = (next(workload.build(one).batches(Share(0, 1, 0))) for one in (alone, named))

    assert torch.equal(first.gt, second.gt)
    assert workload.build(alone).validation_images.names == ("0.png", "1.png")
    assert workload.build(alone).training_fingerprint == workload.build(named).training_fingerprint


def test_sources_of_different_sizes_need_a_crop(config: RunConfig, tmp_path: Path) -> None:
    mixed = replace(config, data_sources=f"{put_source(tmp_path / 'large', 90, 2, size=12)}:1")
    with pytest.raises(DatasetError, match=r"different sizes \(8x8 in .*day, 12x12 in .*large\).* at most 8"):
        workload.build(mixed).batches(Share(0, 1, 0))
    assert next(workload.build(replace(mixed, patch_size=8)).batches(Share(0, 1, 0))).lr.shape == (5, 5, 3, 8, 8)


def test_a_source_that_is_not_there_is_named(config: RunConfig) -> None:
    with pytest.raises(DatasetError, match=r"nowhere/Patches/GT cannot be read"):
        workload.build(replace(config, data_sources="nowhere:1"))


def test_noise_is_on_lr_of_training_only_and_the_same_at_a_position(config: RunConfig) -> None:
    noisy = replace(config, lr_noise=20.0, lr_jpeg_quality=50, lr_codec_crf=40)
    clean, first, again = (next(workload.build(one).batches(Share(0, 1, 5))) for one in (config, noisy, noisy))

    assert torch.equal(first.lr, again.lr)
    assert torch.equal(first.gt, clean.gt)
    assert not torch.equal(first.lr, clean.lr)
    for index in range(4):
        pairs = [workload.build(one).validation_images.read(index) for one in (config, noisy)]
        assert torch.equal(pairs[0][0], pairs[1][0])
