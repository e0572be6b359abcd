"""Images between their pixels: sampling at any position, the mean over a window, and gradients.

Legend: N = images, C = channels, H, W = size of an image, h, w = size of a field of positions.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def positions(flow: Tensor) -> Tensor:
    """Return where each pixel goes, (N, 2, h, w): x and y of the pixel plus its flow, in pixels."""
    return flow + places_between(flow, flow.shape[-2], flow.shape[-1], 1.0, 0.0)


def places_between(like: Tensor, height: int, width: int, step: float, first: float) -> Tensor:
    """Return places (1, 2, height, width): on both axes `first`, `first` + `step`, …, of the type of `like`."""
    x = first + step * torch.arange(width, dtype=like.dtype, device=like.device).expand(height, width)
    y = first + step * torch.arange(height, dtype=like.dtype, device=like.device).unsqueeze(1).expand(height, width)
    return torch.stack([x, y]).unsqueeze(0)


def grid_of(places: Tensor, height: int, width: int) -> Tensor:
    """Return places (N, 2, h, w) in pixels of an image as the grid (N, h, w, 2) that `sample` takes."""
    # Not relative to the outermost pixels' centres, which an image of one pixel does not have.
    x, y = places.split(1, dim=1)
    return torch.cat([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=1).permute(0, 2, 3, 1)


def sample(image: Tensor, grid: Tensor) -> Tensor:
    """Return (N, C, h, w): the image (N, C, H, W) at the places of a grid, bilinearly; beyond the edge is the edge."""
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)


def sample_at(image: Tensor, places: Tensor) -> Tensor:
    """Return (N, C, h, w): the image (N, C, H, W) at places (N, 2, h, w) in its pixels, as `sample` does."""
    return sample(image, grid_of(places, image.shape[-2], image.shape[-1]))


def box(image: Tensor, side: int) -> Tensor:
    """Return the mean of the side x side pixels around each pixel, side odd; beyond the edge is the edge."""
    padded = F.pad(image, (side // 2,) * 4, mode="replicate")
    if not prefers_shifts(image):
        return F.avg_pool2d(padded, side, 1)
    return _sums_of(_sums_of(padded, side, 2), side, 3) / side**2


def prefers_shifts(image: Tensor) -> bool:
    """Return whether sums of shifted images are better than one layer: on a CPU, where layers of few channels are slow.

    On a GPU each sum is a kernel, and in an exported graph a node.
    """
    return image.device.type == "cpu" and not _is_exporting()


def _is_exporting() -> bool:
    # PyTorch 2.6 does not tell an export from torch.compile.
    is_exporting: Callable[[], bool] = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)
    return is_exporting()


def _sums_of(image: Tensor, count: int, axis: int) -> Tensor:
    """Return the sums of `count` neighbouring pixels along an axis, shorter by count - 1.

    Sums of 2, 4, 8 … are made of each other: on a CPU eight times as fast as a pooling layer of 11 pixels.
    """
    length = image.shape[axis] - count + 1
    power, powers, done = 1, image, 0
    total: Tensor | None = None
    while True:
        if count & power:
            part = powers.narrow(axis, done, length)
            total = part if total is None else total + part
            done += power
        power *= 2
        if power > count:
            assert total is not None
            return total
        shorter = powers.shape[axis] - power // 2
        powers = powers.narrow(axis, 0, shorter) + powers.narrow(axis, power // 2, shorter)


def gradients(image: Tensor) -> tuple[Tensor, Tensor]:
    """Return the central differences along x and y of (N, 1, H, W), per pixel; beyond the edge is the edge."""
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    along_x = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    along_y = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    return along_x, along_y
