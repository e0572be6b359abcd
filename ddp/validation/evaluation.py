"""Validation distributed over the ranks; every image is scored exactly once for any number of ranks.

Of N ranks, rank r scores images r, r + N, r + 2N, … on the unwrapped model, and writes its rows of a table of zeros;
one all_reduce(sum) gives every rank the whole table. A rank without images contributes zeros. No random numbers are
drawn, so a validation does not change the training.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ddp.distributed.rng import preserved_rng
from ddp.distributed.world import World
from ddp.metrics.window import memory_use
from ddp.validation.image_scores import ImageScorer, Networks
from ddp.validation.layer_activity import ActivityProbe
from ddp.validation.result import COLUMNS, Preview, ValidationResult
from ddp.workload import UnreadableImageError, Workload, sets_of
from service.errors import MemoryShortageError, TrainingFailedError


class _InterruptedError(Exception):
    """A shutdown was requested while an image was scored."""


@dataclass
class _Share:
    """What one rank found beside the rows of the table; `shortage` is the error message if memory ran out."""

    previews: list[Preview] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    shortage: str | None = None


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

    `on_image` is called after each image of this rank and between its parts, `before_exchange` before it waits for the
    others. One collective, and one more if an image could not be scored. Only rank 0 keeps previews. Raises
    `TrainingFailedError` on all ranks if an image does not fit into the memory of one.
    """
    began_at = time.time()
    started_at = time.perf_counter()
    names = tuple(workload.validation_images.names)
    table = torch.zeros(len(names), COLUMNS, dtype=torch.float64)
    probe = ActivityProbe(workload.layers(networks.model))
    with networks.evaluating(), preserved_rng(world.device), torch.no_grad(), probe:
        share = _score_share(world, workload, networks, table, preview_count, on_image, is_shutdown_requested)
    seconds = time.perf_counter() - started_at
    flags = (float(is_shutdown_requested()), float(share.shortage is not None))
    own = (began_at, seconds, memory_use(world.device)[1], *flags)
    before_exchange()
    means, by_rank = _reduce(world, table, probe, own)
    if by_rank[:, 3].any():
        return None
    if by_rank[:, 4].any():
        world.raise_together(None if share.shortage is None else TrainingFailedError(share.shortage))
    return ValidationResult(
        names=names,
        table=table,
        layer_names=tuple(probe.names),
        layer_means=means,
        duration_seconds=float(by_rank[:, 1].max()),
        began_at=tuple(by_rank[:, 0].tolist()),
        peak_gib=float(by_rank[:, 2].max()),
        previews=tuple(share.previews),
        unreadable=_joined(world, share.unreadable) if (table[:, 0] == 0).any() else {},
        sets=sets_of(workload.validation_images),
    )


def _score_share(
    world: World,
    workload: Workload,
    networks: Networks,
    table: Tensor,
    preview_count: int,
    on_image: Callable[[], None],
    is_shutdown_requested: Callable[[], bool],
) -> _Share:
    """Score this rank's images into their rows of `table`, until a shutdown is requested or memory runs out."""

    def on_part() -> None:
        on_image()
        if is_shutdown_requested():
            raise _InterruptedError

    share, names = _Share(), workload.validation_images.names
    scorer = ImageScorer(world.rank, world.device, workload, networks, on_part)
    for index in range(world.rank, len(names), world.size):
        if is_shutdown_requested():
            break
        is_previewed = world.is_main and len(share.previews) < preview_count
        try:
            preview = scorer.score(index, table[index], with_preview=is_previewed)
        except UnreadableImageError as error:
            share.unreadable[names[index]] = str(error)
            continue
        except _InterruptedError:
            break
        except MemoryShortageError as error:
            share.shortage = str(error)
            break
        if preview is not None:
            share.previews.append((names[index], preview))
        on_image()
    return share


def _joined(world: World, own: dict[str, str]) -> dict[str, str]:
    """Return the entries of all ranks, the same on every rank."""
    return {name: reason for entries in world.gather(own) for name, reason in entries.items()}


def _reduce(world: World, table: Tensor, probe: ActivityProbe, own: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Sum `table` over all ranks in place.

    `own` is (start as Unix time, duration in s, peak GiB of GPU memory, shutdown requested, memory ran out) of this
    rank. Returns mean |output| per layer, and every rank's `own`, (ranks, 5).
    """
    by_rank = torch.zeros(world.size, len(own), dtype=torch.float64)
    by_rank[world.rank] = torch.tensor(own, dtype=torch.float64)
    parts = [table.flatten(), probe.sums().double().cpu(), probe.calls().double().cpu(), by_rank.flatten()]
    reduced = world.sum(torch.cat(parts)).split([len(part) for part in parts])
    table.copy_(reduced[0].view_as(table))
    return reduced[1] / reduced[2].clamp(min=1), reduced[3].view_as(by_rank)
