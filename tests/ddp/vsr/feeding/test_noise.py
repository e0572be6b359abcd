"""Noise against its formulas, JPEG against Pillow's own."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from ddp.vsr.feeding.noise import NoiseRange, NoisyDataset, SampleNoise, degraded, drawn
from ddp.vsr.sample_stream import Sample

T, SIZE = 5, 64


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("sigma", [2.0, 8.0])
@pytest.mark.parametrize("level", [60, 128])
def test_gaussian_noise_has_its_variance_at_any_level_and_no_bias(sigma: float, level: int) -> None:
    frames = np.full((T, SIZE, SIZE, 3), level, np.uint8)
    found = degraded(frames, SampleNoise(sigma, 0, 0), generator()).astype(float)

    assert abs(found.mean() - level) < 0.15
    assert found.var() == pytest.approx(sigma**2 + 1 / 12, rel=0.03)  # and that of rounding


@pytest.mark.parametrize("level", [20, 60, 120])
def test_shot_noise_has_a_variance_in_proportion_to_the_level_and_no_bias(level: int) -> None:
    frames = np.full((T, SIZE, SIZE, 3), level, np.uint8)
    found = degraded(frames, SampleNoise(0, 0.5, 0), generator()).astype(float)

    assert abs(found.mean() - level) < 0.3
    assert found.var() == pytest.approx(0.5 * level, rel=0.05)


def test_noise_of_frames_and_channels_is_independent() -> None:
    frames = np.full((T, SIZE, SIZE, 3), 128, np.uint8)
    found = degraded(frames, SampleNoise(10, 0.2, 0), generator()).astype(float) - 128
    planes = found.transpose(0, 3, 1, 2).reshape(T * 3, -1)

    correlations = np.corrcoef(planes)[~np.eye(T * 3, dtype=bool)]
    assert np.abs(correlations).max() < 0.07  # 4096 pixels: the standard deviation is 0.016


@pytest.mark.parametrize("quality", [10, 50, 95])
def test_each_frame_is_what_pillow_makes_of_it(quality: int) -> None:
    frames = generator().integers(0, 256, (T, 24, 40, 3), dtype=np.uint8)
    found = degraded(frames, SampleNoise(0, 0, quality), generator())

    for frame, made in zip(frames, found, strict=True):
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=quality)
        np.testing.assert_array_equal(made, np.asarray(Image.open(file)))


def test_strengths_are_drawn_evenly_between_none_and_the_strongest() -> None:
    random = generator()
    found = [drawn(NoiseRange(10, 2, 30), random) for _ in range(4000)]

    assert np.mean([one.sigma for one in found]) == pytest.approx(5, abs=0.2)
    assert max(one.shot for one in found) == pytest.approx(2, abs=0.01)
    qualities = {one.quality for one in found}
    assert (min(qualities), max(qualities), len(qualities)) == (30, 95, 66)
    assert all(one.quality == 0 for one in [drawn(NoiseRange(sigma=10), random) for _ in range(9)])


class Grey(Dataset[Sample]):
    def __getitem__(self, position: int) -> Sample:
        return Sample(torch.full((T, 3, SIZE, SIZE), 100, dtype=torch.uint8), torch.full((3, 8, 8), 7), ("x",))


def test_strength_belongs_to_the_sample_and_all_of_it_to_seed_and_position() -> None:
    noisy = [NoisyDataset(Grey(), NoiseRange(sigma=20), seed) for seed in (0, 0, 1)]
    deviations = []
    for position in range(40):
        first, again, other = (dataset[position] for dataset in noisy)
        assert torch.equal(first.lr, again.lr)
        assert not torch.equal(first.lr, other.lr)
        assert first.skipped == ("x",)
        assert first.lr.shape == (T, 3, SIZE, SIZE)
        by_frame = first.lr.float().flatten(1).std(dim=1)
        assert by_frame.max() - by_frame.min() < 0.1 * by_frame.mean() + 0.1
        deviations.append(float(by_frame.mean()))
    assert min(deviations) < 4
    assert max(deviations) > 16


def test_all_off_is_no_range() -> None:
    assert not NoiseRange()
    assert NoiseRange(jpeg_quality=30)
