"""The result of one validation: scores of every image, and the record's keys derived from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ddp.validation.layer_activity import activity_maps
from service.loss_terms import TERM_COUNT

VARIANTS = ("lr", "ki", "ema")
SCORES = ("psnr_db", "ssim", "psnr_y_db", "quality", "ssim_y")
REPORTED = ("psnr_db", "ssim", "psnr_y_db", "ssim_y")
PER_IMAGE = ("psnr_db", "ssim", "quality")
COLUMNS = 1 + len(VARIANTS) * (len(SCORES) + TERM_COUNT)  # seen | scores of LR, KI, EMA | loss terms of the same

Preview = tuple[str, Tensor]
"""A name and LR | KI | GT side by side, (3, H, 3 · W) uint8 on the CPU."""


@dataclass(frozen=True)
class ValidationResult:
    """Scores of every image, the same on every rank. Without EMA weights the columns of `ema` are NaN.

    `table` is (images, COLUMNS) float64; `began_at` holds the Unix time (s) at which each rank began, `peak_gib` the
    highest peak of GPU memory of any rank, 0 on CPU.
    """

    names: tuple[str, ...]
    table: Tensor
    layer_names: tuple[str, ...]
    layer_means: Tensor
    duration_seconds: float
    began_at: tuple[float, ...]
    peak_gib: float
    previews: tuple[Preview, ...]
    unreadable: Mapping[str, str]
    """The reason by name of each image that could not be read."""
    sets: tuple[str, ...] = ()
    """The name of the set of each image; empty if the workload knows of no sets."""

    @cached_property
    def seen(self) -> Tensor:
        """Rows of the images that could be read."""
        return self.table[self.table[:, 0] > 0]

    def mean(self, variant: str, score: str) -> float:
        """Return the mean over images of a score of `lr`, `ki` or `ema`."""
        return float(self.seen[:, column_of(variant, score)].mean())

    def report(self, weights: tuple[float, ...]) -> dict[str, Any]:
        """Return the record's keys of a validation, except best_quality_ever; `weights` are the loss weights."""
        quality_lr, quality_ki = self.seen[:, column_of("lr", "quality")], self.seen[:, column_of("ki", "quality")]
        activity, raw, peak = activity_maps(self.layer_names, self.layer_means.tolist())
        return {
            "quality_lr_value": float(quality_lr.mean()),
            "quality_ki_value": float(quality_ki.mean()),
            "quality_improvement_value": float((quality_ki - quality_lr).mean()),
            "quality_ki_to_gt_value": float((1 - quality_ki).mean()),
            "quality_lr_to_gt_value": float((1 - quality_lr).mean()),
            "validation_loss_value": self._loss("ki", weights),
            "quality_ema_value": self.mean("ema", "quality"),
            "validation_loss_ema_value": self._loss("ema", weights),
            "layer_activity_map": activity,
            "layer_activity_raw_map": raw,
            "layer_activity_peak_value": peak,
            **{_key(variant, score): self.mean(variant, score) for score in REPORTED for variant in VARIANTS},
            "validation_image_count": len(self.seen),
            "validation_duration": self.duration_seconds,
            "validation_images": self._images(),
            "validation_sets": self._sets(),
        }

    def _loss(self, variant: str, weights: tuple[float, ...]) -> float:
        """Return the mean total loss of a variant with these weights."""
        first = first_term_of(variant)
        return float((self.seen[:, first : first + TERM_COUNT] @ torch.tensor(weights, dtype=torch.float64)).mean())

    def _sets(self) -> list[dict[str, Any]]:
        """Return the means of each set of images, in the order of the sets."""
        columns = {_key(variant, score): column_of(variant, score) for score in SCORES for variant in VARIANTS}
        found = []
        for name in dict.fromkeys(self.sets):
            is_own = torch.tensor([own == name for own in self.sets]) & (self.table[:, 0] > 0)
            if is_own.any():
                means = {key: float(self.table[is_own, column].mean()) for key, column in columns.items()}
                found.append({"name": name, "image_count": int(is_own.sum()), **means})
        return found

    def _images(self) -> list[dict[str, Any]]:
        columns = {_key(variant, score): column_of(variant, score) for score in PER_IMAGE for variant in ("lr", "ki")}
        rows = zip(self.names, self.table.tolist(), strict=True)
        return [
            {"name": name, **{key: row[column] for key, column in columns.items()}} for name, row in rows if row[0] > 0
        ]


def column_of(variant: str, score: str) -> int:
    """Return the table's column of a score of `lr`, `ki` or `ema`."""
    return 1 + SCORES.index(score) + VARIANTS.index(variant) * len(SCORES)


def first_term_of(variant: str) -> int:
    """Return the table's first column of the loss terms of `lr`, `ki` or `ema`."""
    return 1 + len(VARIANTS) * len(SCORES) + VARIANTS.index(variant) * TERM_COUNT


def _key(variant: str, score: str) -> str:
    """Return the record's key of a score: `psnr_db` of `ki` is `psnr_ki_db`."""
    stem = score.removesuffix("_db")
    return f"{stem}_{variant}{score.removeprefix(stem)}"
