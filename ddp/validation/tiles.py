"""Runs a network on one image: as a whole, or in tiles where memory does not suffice for the whole.

A tile is cut with a margin of the network's reach, so that every pixel of the output depends on the same pixels of the
input as in the whole image. The joined output equals that of the whole, up to rounding.

Legend: T = frames, h, w = LR size of one frame, H, W = size of the output, s = scale, H = s h, W = s w.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ddp.step.out_of_memory import free_memory, is_out_of_memory

AUTOMATIC_TILES = (1024, 512, 256, 128, 64)
"""Sides in LR pixels that are tried in turn after the whole image."""

logger = logging.getLogger(__name__)


class _Span(NamedTuple):
    """A stretch of one axis: what is computed, `first` … `end` - 1, and what is read for it, with margins."""

    first: int
    end: int
    read_first: int
    read_end: int


@dataclass
class ImageForward:
    """Runs networks on images; remembers which size of tiles has worked, so that a failure is not repeated.

    `tile` is the side of a tile in LR pixels, 0 for the whole image if possible. `reach` is the number of LR pixels on
    each side on which a pixel of the output depends, None if that is unknown: then only whole images are possible.
    """

    tile: int = 0
    reach: int | None = None
    _fitting: dict[int, int] = field(default_factory=dict)
    """The side that worked where larger ones failed, by number of LR pixels; 0 for the whole."""

    def run(self, network: nn.Module, lr: Tensor, target: Tensor, on_tile: Callable[[], None]) -> Tensor:
        """Map `lr` (1, T, 3, h, w) to (1, 3, H, W), the size of `target`; `on_tile` is called before each tile.

        Raises `MemoryError` if not even the smallest tile fits into memory.
        """
        for side in self._sides(lr):
            output = self._attempt(network, lr, target, side, on_tile)
            if output is not None:
                self._note_fitting(lr, side)
                return output
            free_memory()
        raise MemoryError("not enough memory for an image")

    def _note_fitting(self, lr: Tensor, side: int) -> None:
        height, width = lr.shape[-2:]
        if side and side != self.tile and self._fitting.get(height * width) != side:
            self._fitting[height * width] = side
            logger.warning(
                "An image of %dx%d LR pixels does not fit into memory as a whole, but in tiles of %d.",
                width, height, side,
            )  # fmt: skip

    def smallest_tile(self) -> int:
        """Return the side of the smallest tile that is tried; 0 if only whole images are."""
        return 0 if self.reach is None else self.tile or AUTOMATIC_TILES[-1]

    def _sides(self, lr: Tensor) -> list[int]:
        """Return the sides to try in turn; 0 is the whole image."""
        if self.reach is None:
            return [0]
        if self.tile:
            return [self.tile]
        pixels, longest = lr.shape[-2] * lr.shape[-1], max(lr.shape[-2:])
        known = [side for failed, side in self._fitting.items() if failed <= pixels]
        sides = [0, *(side for side in AUTOMATIC_TILES if side < longest)]
        return [side for side in sides if side and side <= min(known)] or sides if known else sides

    def _attempt(
        self, network: nn.Module, lr: Tensor, target: Tensor, side: int, on_tile: Callable[[], None]
    ) -> Tensor | None:
        """Return the output, or None if memory does not suffice. Nothing of a failed attempt stays in memory."""
        try:
            if not side:
                return _run(network, lr)
            return _in_tiles(network, lr, target, _even(side), _even(self.reach or 0), on_tile)
        except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
            if not is_out_of_memory(error):
                raise
        return None


def _in_tiles(
    network: nn.Module, lr: Tensor, target: Tensor, side: int, reach: int, on_tile: Callable[[], None]
) -> Tensor:
    scale = target.shape[-1] // lr.shape[-1]
    output = torch.empty_like(target)
    for rows in _spans(lr.shape[-2], side, reach):
        for columns in _spans(lr.shape[-1], side, reach):
            on_tile()
            part = lr[..., rows.read_first : rows.read_end, columns.read_first : columns.read_end]
            y, x = (_slice_of(span, scale, span.read_first) for span in (rows, columns))
            into_y, into_x = (_slice_of(span, scale, 0) for span in (rows, columns))
            output[..., into_y, into_x] = _run(network, part.contiguous())[..., y, x]
    return output


def _even(pixels: int) -> int:
    """Return the next even number: a network that halves the frames takes the same pairs of pixels in every tile."""
    return pixels + pixels % 2


def _spans(length: int, side: int, reach: int) -> Iterator[_Span]:
    for first in range(0, length, side):
        end = min(length, first + side)
        yield _Span(first, end, max(0, first - reach), min(length, end + reach))


def _slice_of(span: _Span, scale: int, origin: int) -> slice:
    return slice(scale * (span.first - origin), scale * (span.end - origin))


def _run(network: nn.Module, lr: Tensor) -> Tensor:
    output: Tensor = network(lr)
    return output
