"""Held-out clips: windows of frames with their truth, and what a picture scores against it."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ddp.vsr.image_quality import score
from ddp.vsr.prepare.resize import DEGRADATIONS
from ddp.vsr.prepare.sources import Source
from ddp.vsr.prepare.video import opened_video, read_frames, shown_stream

HALVE_FROM = 576
"""A shorter side from which frames are halved, against the block noise of the codec."""


class Window(NamedTuple):
    """Consecutive low-resolution frames (T, 3, h, w) uint8, and the truth of the middle one (3, H, W) uint8."""

    lr: Tensor
    gt: Tensor


@dataclass(frozen=True)
class HeldOut:
    """One clip, and the first frame of each window."""

    name: str
    camera: str
    path: Path
    starts: tuple[int, ...]


class Score(NamedTuple):
    """Means over the windows of a clip: dB on Y, SSIM of RGB, border cropped."""

    psnr_y_db: float
    ssim: float


def starts_in(path: Path, count: int, n_frames: int) -> tuple[int, ...]:
    """Return `count` first frames, spread over a video."""
    with opened_video(path) as container:
        total = sum(1 for _ in container.decode(shown_stream(container)))
    return tuple(int(start) for start in np.linspace(0, total - n_frames, count + 2)[1:-1])


def windows_of(clip: HeldOut, n_frames: int, scale: int, degradation: str) -> list[Window]:
    """Return the windows of a clip, in order."""
    wanted = {start + i for start in clip.starts for i in range(n_frames)}
    frames = dict(read_frames(Source(clip.path.name, clip.path), wanted, HALVE_FROM))
    return [_window([frames[start + i] for i in range(n_frames)], scale, degradation) for start in clip.starts]


def _window(frames: Sequence[np.ndarray], scale: int, degradation: str) -> Window:
    height, width = (side - side % scale for side in frames[0].shape[:2])
    whole = [np.ascontiguousarray(frame[:height, :width]) for frame in frames]
    lr = np.stack([DEGRADATIONS[degradation](frame, scale) for frame in whole])
    return Window(
        torch.from_numpy(lr).permute(0, 3, 1, 2), torch.from_numpy(whole[len(whole) // 2]).permute(2, 0, 1)
    )  # fmt: skip


def scores_of(windows: Sequence[Window], network: Callable[[Tensor], Tensor], scale: int) -> Score:
    """Return the scores of (1, T, 3, h, w) → (1, 3, H, W) on windows, in float32."""
    found = [_score(window, picture, scale) for window, picture in pictures_of(windows, network)]
    return Score(*(statistics.fmean(values) for values in zip(*found, strict=True)))


def pictures_of(
    windows: Sequence[Window], network: Callable[[Tensor], Tensor]
) -> Iterator[tuple[Window, Tensor]]:  # fmt: skip
    """Yield each window with the network's picture of it, (1, 3, H, W)."""
    for window in windows:
        with torch.inference_mode():
            yield window, network(window.lr.unsqueeze(0).float() / 255)


def _score(window: Window, picture: Tensor, scale: int) -> tuple[float, float]:
    found = score(picture, window.gt.unsqueeze(0).float() / 255, border=scale)
    return float(found.psnr_y_db), float(found.ssim)
