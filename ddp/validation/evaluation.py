"""Validation distributed over the ranks; every image is scored exactly once for any number of ranks.

Of N ranks, rank r scores images r, r + N, r + 2N, … on the unwrapped model, and writes its rows of a table of zeros;
one all_reduce(sum) gives every rank the whole table. A rank without images contributes zeros. No random numbers are
drawn, so a validation does not change the training.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ddp.distributed.rng import preserved_rng
from ddp.distributed.world import World
from ddp.metrics.window import memory_use
from ddp.validation.layer_activity import ActivityProbe
from ddp.validation.result import COLUMNS, SCORES, Preview, ValidationResult, column_of, first_term_of
from ddp.workload import UnreadableImageError, Workload
from service.loss_terms import TERM_COUNT


@dataclass(frozen=True)
class Networks:
    """Networks of a validation: the unwrapped network, its EMA copy if there is one, and the loss."""

    model: nn.Module
    ema: nn.Module | None
    loss: nn.Module

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Set evaluation mode within the block, and restore the previous mode."""
        modules = [module for module in (self.model, self.ema) if module is not None]
        modes = [module.training for module in modules]
        for module in modules:
            module.eval()
        try:
            yield
        finally:
            for module, mode in zip(modules, modes, strict=True):
                module.train(mode)


def validate(
    world: World,
    workload: Workload,
    networks: Networks,
    *,
    preview_count: int,
    on_image: Callable[[], None],
    before_exchange: Callable[[], None],
    is_shutdown_requested: Callable[[], bool],
) -> ValidationResult | None:
    """Score every validation image once; return None on all ranks if a shutdown was requested on any before the end.

    `on_image` is called after each image of this rank, `before_exchange` before it waits for the others. One
    collective. Only rank 0 keeps previews.
    """
    began_at = time.time()
    started_at = time.perf_counter()
    names = tuple(workload.validation_images.names)
    table = torch.zeros(len(names), COLUMNS, dtype=torch.float64)
    previews: list[Preview] = []
    probe = ActivityProbe(workload.layers(networks.model))
    with networks.evaluating(), preserved_rng(world.device), torch.no_grad(), probe:
        for index in range(world.rank, len(names), world.size):
            if is_shutdown_requested():
                break
            try:
                images = _score_image(world.device, workload, networks, index, table[index])
            except UnreadableImageError:
                continue
            if world.is_main and len(previews) < preview_count:
                previews.append((names[index], _side_by_side(*images)))
            on_image()
    seconds = time.perf_counter() - started_at
    own = (began_at, seconds, memory_use(world.device)[1], float(is_shutdown_requested()))
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
    """Score one image into its `row` of the table; return LR, KI and GT as images (1, 3, H, W)."""
    lr_bytes, gt_bytes = workload.validation_images.read(index)
    lr = lr_bytes.unsqueeze(0).to(device).float() / 255
    target = gt_bytes.unsqueeze(0).to(device).float() / 255
    images = {"lr": workload.enlarge(lr), "ki": networks.model(lr)}
    if networks.ema is not None:
        images["ema"] = networks.ema(lr)
    row[0] = 1
    row[1:] = float("nan")
    for name, image in images.items():
        scores, terms = column_of(name, SCORES[0]), first_term_of(name)
        row[scores : scores + len(SCORES)] = _scores(workload.score(image, target))
        row[terms : terms + TERM_COUNT] = networks.loss(image, target).double().cpu()
    return images["lr"], images["ki"], target


def _scores(scores: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([scores[name].double().cpu() for name in SCORES])


def _side_by_side(*images: Tensor) -> Tensor:
    return (torch.cat(images, dim=-1)[0].clamp(0, 1) * 255).round().byte().cpu()


def _reduce(
    world: World, table: Tensor, probe: ActivityProbe, own: tuple[float, float, float, float]
) -> tuple[Tensor, Tensor]:
    """Sum `table` over all ranks in place.

    `own` is (start as Unix time, duration in s, peak GiB of GPU memory, shutdown requested) of this rank. Returns
    mean |output| per layer, and every rank's `own`, (ranks, 4).
    """
    by_rank = torch.zeros(world.size, len(own), dtype=torch.float64)
    by_rank[world.rank] = torch.tensor(own, dtype=torch.float64)
    parts = [table.flatten(), probe.sums().double().cpu(), probe.calls().double().cpu(), by_rank.flatten()]
    reduced = world.sum(torch.cat(parts)).split([len(part) for part in parts])
    table.copy_(reduced[0].view_as(table))
    return reduced[1] / reduced[2].clamp(min=1), reduced[3].view_as(by_rank)
