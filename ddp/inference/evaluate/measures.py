"""What is measured of a clip, and how it is averaged.

PSNR and SSIM of RGB and of Y by `ddp.vsr.image_quality`, dtSSD by `temporal` beside this module. A clip's value is the
mean over its frames, a set's the mean over its clips, as published: each clip counts alike, however long it is.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ddp.inference.evaluate.temporal import dtssd, luma_error
from ddp.vsr.image_quality import score

SPATIAL = ("psnr_db", "ssim", "psnr_y_db", "ssim_y")
TEMPORAL = "dtssd_y"
MEASURES = (*SPATIAL, TEMPORAL)

Scores = Mapping[str, float]
"""Values by measure; dtSSD is NaN for a frame that follows no other of its scene."""
FrameScores = Mapping[str, Scores]
"""Scores of one frame by variant: `bicubic`, `ki`, `ema`."""


@dataclass
class VariantMeter:
    """Measures the frames of one variant in their order."""

    border: int
    _error: Tensor | None = None

    def measure(self, output: Tensor, target: Tensor, *, follows: bool, is_scored: bool = True) -> Scores:
        """Measure a frame, both (1, 3, H, W) in 0…1; `follows`: the frame before was of the same scene.

        Without `is_scored` it is only remembered as what the next one follows. Raises `UserError` as `score`.
        """
        error = luma_error(output, target, self.border)
        before, self._error = self._error, error
        if not is_scored:
            return {}
        found = score(output, target, self.border)._asdict()
        change = dtssd(before, error) if follows and before is not None else math.nan
        return {**{name: float(found[name]) for name in SPATIAL}, TEMPORAL: change}


@dataclass(frozen=True)
class ClipScores:
    """The scores of one clip: of each frame, by its number."""

    name: str
    frames: Mapping[int, FrameScores] = field(default_factory=dict)

    def means(self) -> dict[str, dict[str, float]]:
        """Return the mean over the frames by variant and measure; NaN for a measure that no frame has."""
        frames = [self.frames[number] for number in sorted(self.frames)]
        variants = list(frames[0]) if frames else []
        return {
            variant: {measure: mean(frame[variant][measure] for frame in frames) for measure in MEASURES}
            for variant in variants
        }

    def as_json(self) -> dict[str, Any]:
        """Return means and the scores of all frames as plain values."""
        numbers = sorted(self.frames)
        return {
            "name": self.name,
            "frame_count": len(numbers),
            "means": plain(self.means()),
            "frames": [{"frame": number, **plain(self.frames[number])} for number in numbers],
        }


@dataclass(frozen=True)
class SetScores:
    """The scores of one set of clips; `left_out` has a sentence for each clip that could not be measured."""

    name: str
    path: str
    clips: Sequence[ClipScores]
    left_out: Sequence[str] = ()

    def means(self) -> dict[str, dict[str, float]]:
        """Return the mean over the clips by variant and measure."""
        of_clips = [clip.means() for clip in self.clips]
        variants = list(of_clips[0]) if of_clips else []
        return {
            variant: {measure: mean(found[variant][measure] for found in of_clips) for measure in MEASURES}
            for variant in variants
        }

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "name": self.name,
            "path": self.path,
            "clip_count": len(self.clips),
            "left_out": list(self.left_out),
            "means": plain(self.means()),
            "clips": [clip.as_json() for clip in self.clips],
        }


def mean(values: Iterable[float]) -> float:
    """Return the mean of the values that are known, NaN if none is; the sum is exact, so that no order matters."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def plain(scores: Mapping[str, Scores]) -> dict[str, dict[str, float | None]]:
    """Return scores as JSON has them: null for what is not known."""
    return {
        variant: {name: None if math.isnan(value) else value for name, value in values.items()}
        for variant, values in scores.items()
    }
