"""Scores one validation image with all its variants: LR, KI, and EMA if there are averaged weights.

Holds the target and one variant at a time, so that a large image needs memory for two images only, beside what the
network needs.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from ddp.step.out_of_memory import free_memory, is_out_of_memory
from ddp.validation.result import SCORES, column_of, first_term_of
from ddp.validation.tiles import ImageForward
from ddp.workload import Workload
from service.errors import MemoryShortageError
from service.loss_terms import TERM_COUNT

PREVIEWED = ("lr", "ki")
STRIP_ROWS = 256


@dataclass(frozen=True)
class Networks:
    """Networks of a validation: the unwrapped network, its EMA copy if there is one, the loss, and how they run."""

    model: nn.Module
    ema: nn.Module | None
    loss: nn.Module
    forward: ImageForward = field(default_factory=ImageForward)

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


class ImageScorer:
    """Scores images of a workload on one rank."""

    def __init__(
        self, rank: int, device: torch.device, workload: Workload, networks: Networks, on_part: Callable[[], None]
    ) -> None:
        """`on_part` is called before each variant, and before each tile of an image that is processed in tiles."""
        self._rank = rank
        self._device = device
        self._workload = workload
        self._networks = networks
        self._on_part = on_part

    def score(self, index: int, row: Tensor, *, with_preview: bool) -> Tensor | None:
        """Score an image into its `row` of the table; if wanted, return LR, KI and GT in a row, (3, H, 3 · W) uint8.

        Raises `UnreadableImageError`, and `MemoryShortageError` if the image does not fit into memory in any way.
        """
        size: list[int] = []
        try:
            return self._score(index, row, size, with_preview=with_preview)
        except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
            if not is_out_of_memory(error):
                raise
        free_memory()
        raise MemoryShortageError(self._explain_shortage(index, size))

    def _score(self, index: int, row: Tensor, size: list[int], *, with_preview: bool) -> Tensor | None:
        lr_bytes, gt_bytes = self._workload.validation_images.read(index)
        size += reversed(gt_bytes.shape[-2:])
        lr, target = self._to_device(lr_bytes), self._to_device(gt_bytes)
        row[0] = 1
        row[1:] = float("nan")
        shown = []
        for name, make in self._variants(lr, target).items():
            self._on_part()
            image = make()
            scores, terms = column_of(name, SCORES[0]), first_term_of(name)
            row[scores : scores + len(SCORES)] = _scores(self._workload.score(image, target))
            row[terms : terms + TERM_COUNT] = self._networks.loss(image, target).double().cpu()
            if with_preview and name in PREVIEWED:
                shown.append(as_bytes(image))
            del image
        return torch.cat([*shown, gt_bytes], dim=-1) if with_preview else None

    def _variants(self, lr: Tensor, target: Tensor) -> dict[str, Callable[[], Tensor]]:
        networks = self._networks
        variants: dict[str, Callable[[], Tensor]] = {
            "lr": lambda: self._workload.enlarge(lr),
            "ki": partial(networks.forward.run, networks.model, lr, target, self._on_part),
        }
        if networks.ema is not None:
            variants["ema"] = partial(networks.forward.run, networks.ema, lr, target, self._on_part)
        return variants

    def _to_device(self, pixels: Tensor) -> Tensor:
        return pixels.unsqueeze(0).to(self._device).float().div_(255)

    def _explain_shortage(self, index: int, size: list[int]) -> str:
        name, tile = self._workload.validation_images.names[index], self._networks.forward.smallest_tile()
        return shortage_sentence(name, tuple(size), f"rank {self._rank} ({self._device})", tile)


def shortage_sentence(name: str, size: tuple[int, ...], place: str, tile: int) -> str:
    """Build the error message; `size` is (W, H), or empty before it is known, `tile` 0 where tiles are impossible."""
    pixels = f" ({size[0]}x{size[1]} pixels)" if size else ""
    tiles = f", not even in tiles of {tile} LR pixels" if tile else ""
    return (
        f"Validation image {name}{pixels} does not fit into the memory of {place}{tiles}: "
        "give the run more memory, or crop the image or take it out of the set, and resume."
    )


def _scores(scores: Mapping[str, Tensor]) -> Tensor:
    """Return the scores of an image (SCORES,); NaN for one that the workload does not have."""
    unknown = torch.full((1,), float("nan"))
    return torch.cat([scores.get(name, unknown).double().cpu() for name in SCORES])


def as_bytes(image: Tensor) -> Tensor:
    """Return an image (1, 3, H, W) as (3, H, W) uint8 on the CPU, converted in strips to save memory."""
    strips = image[0].split(STRIP_ROWS, dim=-2)
    return torch.cat([(strip.clamp(0, 1) * 255).round().byte().cpu() for strip in strips], dim=-2)
