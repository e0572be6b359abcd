"""Validation spread over the ranks, in which each image counts exactly once whatever their number.

Rank r scores images r, r + N, r + 2N, … on the unwrapped model, and writes into its own rows of a table that starts at
zero; one all_reduce(sum) gives every rank the whole table. A rank without images sends zeros. Nothing here draws random
numbers, so a validation leaves the training's trajectory alone.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ddp.activity import ActivityProbe, activity_maps
from ddp.generators import undisturbed_generators
from ddp.ledger import TERM_COUNT
from ddp.window import memory_use
from ddp.workload import UnreadableImageError, Workload
from ddp.world import World

PICTURES = ("lr", "ki", "ema")
SCORES = ("psnr_db", "ssim", "psnr_y_db", "quality")
PER_IMAGE = ("psnr_db", "ssim", "quality")
COLUMNS = 1 + len(PICTURES) * (len(SCORES) + TERM_COUNT)  # seen | scores of LR, KI, EMA | loss terms of the same

Preview = tuple[str, Tensor]
"""A name and LR | KI | GT side by side, (3, H, 3 · W) uint8 on the CPU."""


@dataclass(frozen=True)
class ValidationResult:
    """Scores of every image, the same on every rank. Without averaged weights the columns of `ema` are not numbers.

    `table` is (images, COLUMNS) float64; `began_at` holds the Unix time at which each rank began, `peak_gib` the
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

    @cached_property
    def seen(self) -> Tensor:
        """The rows of images that could be read."""
        return self.table[self.table[:, 0] > 0]

    @property
    def unreadable(self) -> list[str]:
        """Names of images that no rank could read."""
        return [name for name, row in zip(self.names, self.table, strict=True) if row[0] == 0]

    def mean(self, picture: str, score: str) -> float:
        """The mean of a score of `lr` or `ki` over images."""
        return float(self.seen[:, _column(picture, score)].mean())

    def report(self, weights: tuple[float, ...]) -> dict[str, Any]:
        """The record's keys that a validation fills, but for best_quality_ever."""
        quality_lr, quality_ki = self.seen[:, _column("lr", "quality")], self.seen[:, _column("ki", "quality")]
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
            **{_key(picture, score): self.mean(picture, score) for score in SCORES[:3] for picture in PICTURES},
            "validation_image_count": len(self.seen),
            "validation_duration": self.duration_seconds,
            "validation_images": self._images(),
        }

    def _loss(self, picture: str, weights: tuple[float, ...]) -> float:
        """The mean total loss of a picture, under these weights."""
        first = _first_term(picture)
        return float((self.seen[:, first : first + TERM_COUNT] @ torch.tensor(weights, dtype=torch.float64)).mean())

    def _images(self) -> list[dict[str, Any]]:
        columns = {_key(picture, score): _column(picture, score) for score in PER_IMAGE for picture in ("lr", "ki")}
        rows = zip(self.names, self.table.tolist(), strict=True)
        return [
            {"name": name, **{key: row[column] for key, column in columns.items()}} for name, row in rows if row[0] > 0
        ]


@dataclass(frozen=True)
class Networks:
    """What a validation runs: the unwrapped network, its averaged copy if there is one, and the loss."""

    model: nn.Module
    average: nn.Module | None
    loss: nn.Module

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode within; the mode before it afterwards."""
        modules = [module for module in (self.model, self.average) if module is not None]
        modes = [module.training for module in modules]
        for module in modules:
            module.eval()
        try:
            yield
        finally:
            for module, mode in zip(modules, modes, strict=True):
                module.train(mode)


def _column(picture: str, score: str) -> int:
    return 1 + SCORES.index(score) + PICTURES.index(picture) * len(SCORES)


def _first_term(picture: str) -> int:
    return 1 + len(PICTURES) * len(SCORES) + PICTURES.index(picture) * TERM_COUNT


def _key(picture: str, score: str) -> str:
    """The record's name of a score: `psnr_db` of `ki` is `psnr_ki_db`."""
    stem = score.removesuffix("_db")
    return f"{stem}_{picture}{score.removeprefix(stem)}"


def validate(
    world: World,
    workload: Workload,
    networks: Networks,
    *,
    preview_count: int,
    on_image: Callable[[], None],
    before_exchange: Callable[[], None],
    wants_to_leave: Callable[[], bool],
) -> ValidationResult | None:
    """Score every validation image once; None, on all ranks, when a rank wished to leave before it was through.

    `on_image` is called after each image of this rank, `before_exchange` before it waits for the others. One
    collective. Previews are kept on rank 0 only.
    """
    began_at = time.time()
    started_at = time.perf_counter()
    names = tuple(workload.validation_images.names)
    table = torch.zeros(len(names), COLUMNS, dtype=torch.float64)
    previews: list[Preview] = []
    probe = ActivityProbe(workload.layers(networks.model))
    with networks.evaluating(), undisturbed_generators(world.device), torch.no_grad(), probe:
        for index in range(world.rank, len(names), world.size):
            if wants_to_leave():
                break
            try:
                pictures = _score_image(world.device, workload, networks, index, table[index])
            except UnreadableImageError:
                continue
            if world.is_main and len(previews) < preview_count:
                previews.append((names[index], _side_by_side(*pictures)))
            on_image()
    seconds = time.perf_counter() - started_at
    own = (began_at, seconds, memory_use(world.device)[1], float(wants_to_leave()))
    before_exchange()
    means, by_rank = _reduce(world, table, probe, own)
    if by_rank[:, 3].any():
        return None
    return ValidationResult(
        names=names,
        table=table,
        layer_names=tuple(probe.names),
        layer_means=means,
        duration_seconds=float(by_rank[:, 1].max()),
        began_at=tuple(by_rank[:, 0].tolist()),
        peak_gib=float(by_rank[:, 2].max()),
        previews=tuple(previews),
    )


def _score_image(
    device: torch.device, workload: Workload, networks: Networks, index: int, row: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Fill one row of the table; returns LR, KI and GT as pictures (1, 3, H, W)."""
    lr_bytes, gt_bytes = workload.validation_images.read(index)
    lr = lr_bytes.unsqueeze(0).to(device).float() / 255
    target = gt_bytes.unsqueeze(0).to(device).float() / 255
    pictures = {"lr": workload.enlarge(lr), "ki": networks.model(lr)}
    if networks.average is not None:
        pictures["ema"] = networks.average(lr)
    row[0] = 1
    row[1:] = float("nan")
    for name, picture in pictures.items():
        scores, terms = _column(name, SCORES[0]), _first_term(name)
        row[scores : scores + len(SCORES)] = _scores(workload.score(picture, target))
        row[terms : terms + TERM_COUNT] = networks.loss(picture, target).double().cpu()
    return pictures["lr"], pictures["ki"], target


def _scores(scores: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([scores[name].double().cpu() for name in SCORES])


def _side_by_side(*pictures: Tensor) -> Tensor:
    return (torch.cat(pictures, dim=-1)[0].clamp(0, 1) * 255).round().byte().cpu()


def _reduce(
    world: World, table: Tensor, probe: ActivityProbe, own: tuple[float, float, float, float]
) -> tuple[Tensor, Tensor]:
    """Fill `table` from all ranks in place.

    `own` is (Unix time of beginning, seconds, peak GiB of GPU memory, wish to leave) of this rank. Returns
    mean |output| per layer, and every rank's `own`, (ranks, 4).
    """
    by_rank = torch.zeros(world.size, len(own), dtype=torch.float64)
    by_rank[world.rank] = torch.tensor(own, dtype=torch.float64)
    parts = [table.flatten(), probe.sums().double().cpu(), probe.calls().double().cpu(), by_rank.flatten()]
    reduced = world.sum(torch.cat(parts)).split([len(part) for part in parts])
    table.copy_(reduced[0].view_as(table))
    return reduced[1] / reduced[2].clamp(min=1), reduced[3].view_as(by_rank)
