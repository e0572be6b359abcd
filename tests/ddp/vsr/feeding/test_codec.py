"""H.264 on training samples against ffmpeg's own libx264, and what makes it temporal."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from ddp.vsr.feeding import codec
from ddp.vsr.feeding.codec import through_codec
from ddp.vsr.feeding.noise import BEST_CRF, NoiseRange, NoisyDataset, drawn_codec
from ddp.vsr.sample_stream import Sample
from service.errors import SettingError
from tests.ddp.harness.colour_formula import natural_noise

T = 5


def panned(height: int, width: int) -> NDArray[np.uint8]:
    """A picture with the spectrum of natural ones that moves a pixel a frame, (T, h, w, 3)."""
    random = np.random.default_rng(1)
    planes = [natural_noise(random, height, width + T) for _ in range(3)]
    picture = np.stack([120 + 40 * planes[0] + 10 * plane for plane in planes], axis=-1).clip(0, 255).astype(np.uint8)
    return np.stack([picture[:, i : i + width] for i in range(T)])


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(10 * np.log10(255**2 / max(np.mean((a.astype(float) - b) ** 2), 1e-6)))


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg")
@pytest.mark.parametrize("crf", [18, 35])
def test_a_clip_is_as_far_from_the_original_as_the_one_of_ffmpeg(tmp_path: Path, crf: int) -> None:
    frames = panned(64, 80)
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "80x64", "-i", "-"]
    flags = ["-sws_flags", "bicubic+accurate_rnd+full_chroma_int"]
    encoding = ["-pix_fmt", "yuv420p", "-c:v", "libx264", "-crf", str(crf), "-preset", "veryfast"]
    command = ["ffmpeg", "-v", "error", *raw, *flags, *encoding, str(tmp_path / "a.mkv")]
    subprocess.run(command, input=frames.tobytes(), check=True)
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-i",
        str(tmp_path / "a.mkv"),
        *flags,
        "-pix_fmt",
        "rgb24",
        "-f",
        "rawvideo",
        "-",
    ]
    theirs = np.frombuffer(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout, np.uint8)
    theirs = theirs.reshape(frames.shape)

    ours = through_codec(frames, crf, 0)
    for own, other, original in zip(ours, theirs, frames, strict=True):
        assert psnr(own, original) == pytest.approx(psnr(other, original), abs=0.6)
    assert psnr(ours, theirs) > psnr(ours, frames) + 3  # the same faults, not only as many


def test_no_frame_is_shifted_and_colours_have_no_bias() -> None:
    frames = panned(48, 64)
    found = through_codec(frames, 10, 3)
    assert found.shape == frames.shape
    assert found.dtype == np.uint8
    scores = np.array([[psnr(one, other) for other in frames] for one in found])
    assert (scores.argmax(axis=1) == np.arange(T)).all()
    assert np.abs((found.astype(float) - frames).mean(axis=(0, 1, 2))).max() < 0.7


@pytest.mark.parametrize("size", [(31, 45), (32, 45), (9, 7)])
def test_odd_sides_are_kept(size: tuple[int, int]) -> None:
    frames = panned(*size)
    found = through_codec(frames, 20, 1)
    assert found.shape == frames.shape
    assert psnr(found, frames) > 25


def test_frames_are_predicted_from_each_other() -> None:
    """A still picture: alone each frame costs its detail; together the second is made from the first."""
    still = np.repeat(panned(64, 64)[:1], T, axis=0)
    together = through_codec(still, 35, 0)
    assert psnr(together[0], together[4]) > 40
    moving = panned(64, 64)
    first, later = through_codec(moving, 35, 0), through_codec(moving, 35, 4)
    assert not np.array_equal(first, later)  # the frames before it change what the sample gets
    alone = np.concatenate([through_codec(frame[None], 35, 0) for frame in moving])
    assert not np.array_equal(first, alone)


class Panned(Dataset[Sample]):
    def __getitem__(self, position: int) -> Sample:
        frames = torch.from_numpy(panned(32, 32)).permute(0, 3, 1, 2)
        return Sample(frames, torch.full((3, 8, 8), 7), ("x",))


def test_strength_is_a_function_of_seed_and_position() -> None:
    first, again, other = (NoisyDataset(Panned(), NoiseRange(codec_crf=40), seed) for seed in (0, 0, 1))
    clean, distances = Panned()[0].lr.numpy(), []
    for position in range(12):
        sample = first[position]
        assert torch.equal(sample.lr, again[position].lr)
        assert sample.lr.shape == (T, 3, 32, 32)
        assert sample.lr.is_contiguous()
        assert sample.skipped == ("x",)
        distances.append(psnr(sample.lr.numpy(), clean))
    assert max(distances) > min(distances) + 6
    assert any(not torch.equal(first[i].lr, other[i].lr) for i in range(3))


@pytest.mark.parametrize(("highest", "lowest"), [(40, BEST_CRF), (5, 5), (51, BEST_CRF)])
def test_crf_is_drawn_evenly_from_the_best_to_the_highest_and_the_lead_from_none_to_all(
    highest: int, lowest: int
) -> None:
    drawn = [drawn_codec(highest, 0, position, T) for position in range(3000)]
    counts = np.bincount([crf for crf, _ in drawn])
    assert (counts.nonzero()[0][[0, -1]] == [lowest, highest]).all()
    assert counts[lowest:].min() > 0.6 * counts.sum() / (highest + 1 - lowest)
    assert set(np.bincount([lead for _, lead in drawn]) > 500) == {True}


def test_noise_is_the_same_with_and_without_the_codec() -> None:
    """So that a run which adds it at a resume goes on with the noise it had."""
    plain, coded = (NoisyDataset(Panned(), NoiseRange(sigma=20, codec_crf=crf), 0) for crf in (0, 1))
    clean = Panned()[0].lr.numpy().mean(axis=1, dtype=float)
    noises = [(noisy[3].lr.numpy().mean(axis=1, dtype=float) - clean).ravel() for noisy in (plain, coded)]
    assert np.corrcoef(*noises)[0, 1] > 0.8  # 4:2:0 keeps little of what is in the colours


def test_an_installation_without_the_encoder_is_refused_with_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "ENCODER", "libnone264")
    with pytest.raises(SettingError, match=r"LR_CODEC_CRF needs the encoder libnone264.* or set LR_CODEC_CRF to 0"):
        NoisyDataset(Panned(), NoiseRange(codec_crf=30), 0)
