"""Noise and compression on the low-resolution frames of training samples; validation never sees it.

How strong they are is drawn once for a sample, since one camera and one encoder made all of its frames; the noise
itself is independent in each frame. All of it is a function of seed and position. The order is that of a camera: light
is counted (shot noise), read out (Gaussian noise), and compressed, each frame alone (JPEG) or all as a video (H.264).

Legend: T = frames; h, w = LR size.
"""

import io
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import Dataset

from ddp.vsr.sample_stream import Sample, hash_numbers
from service.config.settings import RunConfig

_NOISE, _CODEC = 4, 6  # separate these uses of the seed from others
BEST_QUALITY = 95
"""Of JPEG: above it the files grow and the pictures do not change."""
BEST_CRF = 15
"""Of H.264: below it the files grow and the pictures do not change."""


@dataclass(frozen=True)
class NoiseRange:
    """The strongest noise and compression; 0 is none. Levels are 0…255."""

    sigma: float = 0.0
    """Standard deviation of Gaussian noise, in levels."""
    shot: float = 0.0
    """Variance of shot noise in levels, for each level of brightness: a pixel of 100 has the variance 100 · shot."""
    jpeg_quality: int = 0
    """Lowest quality of JPEG, 1…95."""
    codec_crf: int = 0
    """Highest CRF of H.264, 1…51."""

    def __bool__(self) -> bool:
        return bool(self.sigma or self.shot or self.jpeg_quality or self.codec_crf)


@dataclass(frozen=True)
class SampleNoise:
    """What one sample gets; quality 0 is no compression."""

    sigma: float
    shot: float
    quality: int


def noise_range(config: RunConfig) -> NoiseRange:
    """Return the range that the settings ask for."""
    return NoiseRange(config.lr_noise, config.lr_shot_noise, config.lr_jpeg_quality, config.lr_codec_crf)


class NoisyDataset(Dataset[Sample]):
    """Samples by position with noise on LR."""

    def __init__(self, dataset: Dataset[Sample], strongest: NoiseRange, seed: int) -> None:
        """Raises `SettingError` if there is no encoder for the codec that is asked for."""
        if strongest.codec_crf:
            _codec().require_encoder()
        self._dataset = dataset
        self._strongest = strongest
        self._seed = seed

    def __getitem__(self, position: int) -> Sample:
        """Return the sample at a position. Raises DatasetError."""
        sample = self._dataset[position]
        state = hash_numbers(self._seed, _NOISE, position)
        random = np.random.Generator(np.random.PCG64(state))
        frames = degraded(sample.lr.permute(0, 2, 3, 1).numpy(), drawn(self._strongest, random), random)
        if self._strongest.codec_crf:
            crf, lead = drawn_codec(self._strongest.codec_crf, self._seed, position, len(frames))
            frames = _codec().through_codec(frames, crf, lead)
        return sample._replace(lr=torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous())


def _codec() -> ModuleType:
    """Return `codec`, which imports PyAV: most trainings never need it."""
    from ddp.vsr.feeding import codec

    return codec


def drawn(strongest: NoiseRange, random: np.random.Generator) -> SampleNoise:
    """Return the noise of one sample: each strength is uniform between none and the strongest."""
    sigma, shot, quality = random.random(3)
    lowest = strongest.jpeg_quality
    return SampleNoise(
        sigma * strongest.sigma,
        shot * strongest.shot,
        lowest + int(quality * (BEST_QUALITY + 1 - lowest)) if lowest else 0,
    )


def drawn_codec(highest: int, seed: int, position: int, n_frames: int) -> tuple[int, int]:
    """Return the CRF of one sample, evenly up to the highest, and the frames that its video has before it.

    Drawn apart from the noise, which so is the same with and without a codec.
    """
    crf, lead = (hash_numbers(seed, _CODEC, position, part) for part in range(2))
    best = min(BEST_CRF, highest)
    return best + crf % (highest + 1 - best), lead % n_frames


def degraded(frames: NDArray[np.uint8], noise: SampleNoise, random: np.random.Generator) -> NDArray[np.uint8]:
    """Return frames (T, h, w, 3) with noise, rounded and clipped once, and then each compressed and decoded."""
    if noise.sigma or noise.shot:
        values: NDArray[np.floating[Any]] = frames.astype(np.float64)
        if noise.shot:
            values = random.poisson(values / noise.shot) * noise.shot
        if noise.sigma:
            values = values + random.normal(0.0, noise.sigma, frames.shape)
        frames = np.clip(np.floor(values + 0.5), 0, 255).astype(np.uint8)
    return np.stack([compressed(frame, noise.quality) for frame in frames]) if noise.quality else frames


def compressed(frame: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Return a frame (h, w, 3) as JPEG (4:2:0) of this quality shows it."""
    content = io.BytesIO()
    Image.fromarray(frame).save(content, "jpeg", quality=quality, subsampling="4:2:0")
    with Image.open(content) as image:
        return np.asarray(image)
