"""The unweighted terms of the training loss; the caller weights and adds them.

Never reads a value back from the device. Computes in at least float32, even within autocast, because a difference of
two nearly equal bfloat16 images is mostly rounding error. Without gradients, as in a validation, a large image is
processed in parts, with the same result up to rounding.

Legend: B = images, H, W = pixels; images are RGB, target in [0, 1], output not clamped.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddp.vsr.perceptual import PerceptualFeatures
from ddp.vsr.strips import mean_over_rows


class HybridLoss(nn.Module):
    """Loss module: output and target (B, 3, H, W) -> terms (4,) in the order of `LOSS_TERMS`, each a mean.

    Without `perceptual` the last term is a constant 0.
    """

    def __init__(self, perceptual: PerceptualFeatures | None = None) -> None:
        super().__init__()
        self.perceptual = perceptual

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the terms (4,). Without gradients a large image is processed in strips, which need less memory."""
        dtype = torch.promote_types(torch.promote_types(output.dtype, target.dtype), torch.float32)
        output, target = output.to(dtype), target.to(dtype)
        with torch.autocast(output.device.type, enabled=False):
            perceptual = output.new_zeros(()) if self.perceptual is None else self.perceptual(output, target)
            return torch.stack([l1(output, target), multi_scale(output, target), gradient(output, target), perceptual])


def l1(output: Tensor, target: Tensor) -> Tensor:
    """Return mean|P − T| ()."""

    def mean_of(first: int, end: int) -> Tensor:
        return (output[..., first:end, :] - target[..., first:end, :]).abs().mean()

    return _mean(output, output.shape[-2], mean_of)


def multi_scale(output: Tensor, target: Tensor) -> Tensor:
    """Return L1 after 2x2 average pooling (); an odd last row or column is ignored.

    Pooling is linear, so the difference is pooled once.
    """

    def mean_of(first: int, end: int) -> Tensor:
        rows = slice(2 * first, 2 * end + 1)  # an odd row more, which is ignored as well
        return F.avg_pool2d(output[..., rows, :] - target[..., rows, :], 2).abs().mean()

    return _mean(output, output.shape[-2] // 2, mean_of)


def gradient(output: Tensor, target: Tensor) -> Tensor:
    """Return ½ · (mean‖∂xP| − |∂xT‖ + mean‖∂yP| − |∂yT‖) () with forward differences.

    The sign of an edge is ignored: this term compares the sharpness, L1 the direction. Where the output is exactly
    flat, |∂P| has zero gradient and this term has no effect.
    """

    def along_x(first: int, end: int) -> Tensor:
        return _edges_apart(output[..., first:end, :], target[..., first:end, :], -1)

    def along_y(first: int, end: int) -> Tensor:
        return _edges_apart(output[..., first : end + 1, :], target[..., first : end + 1, :], -2)

    height = output.shape[-2]
    return 0.5 * (_mean(output, height, along_x) + _mean(output, height - 1, along_y))


def _edges_apart(output: Tensor, target: Tensor, dim: int) -> Tensor:
    return (output.diff(dim=dim).abs() - target.diff(dim=dim).abs()).abs().mean()


def _mean(output: Tensor, rows: int, mean_of: Callable[[int, int], Tensor]) -> Tensor:
    """Return the mean over `rows` rows; with gradients always of all at once, since they need all in memory anyway."""
    if torch.is_grad_enabled():
        return mean_of(0, rows)
    return mean_over_rows(rows, len(output) * output.shape[-1], mean_of)
