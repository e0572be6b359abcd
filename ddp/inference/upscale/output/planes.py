"""From RGB to the planes of video, on the network's device: exact, without a bias and without rounding in between.

Chroma lies at the left pixel of two and between two rows, where players expect that of H.264 and VP9.

Legend: H, W = size of the picture.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ddp.vsr.prepare.frames.colours import ColourTags

RED_AND_BLUE = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
"""The shares of red and blue in luma by the number of the matrix, H.273, table 4."""


@dataclass(frozen=True)
class PlaneFormat:
    """How the planes hold a picture: bits per sample, and the pixels per chroma sample in width and height."""

    depth_bits: int
    subsampling: tuple[int, int]


def planes_of(picture: Tensor, tags: ColourTags, planes: PlaneFormat) -> tuple[Tensor, Tensor, Tensor]:
    """Map RGB (3, H, W) in 0…1 to luma (H, W) and two chroma planes, int32; those are rounded up in size."""
    kr, kb = RED_AND_BLUE[tags.matrix]
    red, green, blue = picture
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    chroma = ((blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr)))
    small = [_subsampled(plane, *planes.subsampling) for plane in chroma]
    most, step = 2**planes.depth_bits - 1, 2 ** (planes.depth_bits - 8)
    black, luma_span, chroma_span = (0, most, most) if tags.is_full_range else (16 * step, 219 * step, 224 * step)
    y = luma * luma_span + black
    u, v = (plane * chroma_span + 128 * step for plane in small)
    y, u, v = (plane.round_().clamp_(0, most).int() for plane in (y, u, v))
    return y, u, v


def _subsampled(plane: Tensor, columns: int, rows: int) -> Tensor:
    """Average (H, W) over pairs of rows, and around the left of two columns with the weights 1, 2, 1."""
    if rows == 2:
        even = F.pad(plane[None, None], (0, 0, 0, plane.shape[0] % 2), mode="replicate")[0, 0]
        plane = (even[0::2] + even[1::2]) / 2
    if columns == 2:
        wide = F.pad(plane[None, None], (1, 1 + plane.shape[1] % 2, 0, 0), mode="replicate")[0, 0]
        plane = (wide[:, 0:-2:2] + 2 * wide[:, 1:-1:2] + wide[:, 2::2]) / 4
    return plane
