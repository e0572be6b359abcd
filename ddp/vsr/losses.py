"""The unweighted terms of the training loss; the caller weights and adds them.

Never reads a value back from the device. Computes in at least float32, even within autocast, because a difference of
two nearly equal bfloat16 images is mostly rounding error.

Legend: B = images, H, W = pixels; images are RGB, target in [0, 1], output not clamped.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddp.vsr.perceptual import PerceptualFeatures


class HybridLoss(nn.Module):
    """Loss module: output and target (B, 3, H, W) -> terms (4,) in the order of `LOSS_TERMS`, each a mean.

    Without `perceptual` the last term is a constant 0.
    """

    def __init__(self, perceptual: PerceptualFeatures | None = None) -> None:
        super().__init__()
        self.perceptual = perceptual

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the terms (4,)."""
        dtype = torch.promote_types(torch.promote_types(output.dtype, target.dtype), torch.float32)
        output, target = output.to(dtype), target.to(dtype)
        with torch.autocast(output.device.type, enabled=False):
            perceptual = output.new_zeros(()) if self.perceptual is None else self.perceptual(output, target)
            return torch.stack([l1(output, target), multi_scale(output, target), gradient(output, target), perceptual])


def l1(output: Tensor, target: Tensor) -> Tensor:
    """Return mean|P − T| ()."""
    return (output - target).abs().mean()


def multi_scale(output: Tensor, target: Tensor) -> Tensor:
    """Return L1 after 2x2 average pooling (); an odd last row or column is ignored.

    Pooling is linear, so the difference is pooled once.
    """
    return F.avg_pool2d(output - target, 2).abs().mean()


def gradient(output: Tensor, target: Tensor) -> Tensor:
    """Return ½ · (mean‖∂xP| − |∂xT‖ + mean‖∂yP| − |∂yT‖) () with forward differences.

    The sign of an edge is ignored: this term compares the sharpness, L1 the direction. Where the output is exactly
    flat, |∂P| has zero gradient and this term has no effect.
    """
    along_x = (output.diff(dim=-1).abs() - target.diff(dim=-1).abs()).abs().mean()
    along_y = (output.diff(dim=-2).abs() - target.diff(dim=-2).abs()).abs().mean()
    return 0.5 * (along_x + along_y)
