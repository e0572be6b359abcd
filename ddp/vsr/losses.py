"""The terms of the training loss, unweighted: whoever holds the weights adds them up.

Never reads a value back from the device. Everything is float32 at least, whatever autocast says around it, because a
difference of two nearly equal bfloat16 images is mostly rounding.

Legend: B = images, H, W = pixels; images are RGB, target in [0, 1], output not clamped.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddp.vsr.perceptual import PerceptualFeatures


class HybridLoss(nn.Module):
    """Output and target (B, 3, H, W) -> the terms (4,) in the order of `LOSS_TERMS`, each a mean over all samples.

    Without `perceptual` the last term is a constant 0.
    """

    def __init__(self, perceptual: PerceptualFeatures | None = None) -> None:
        super().__init__()
        self.perceptual = perceptual

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Compute the terms; they carry the gradient of `output` only where `output` wants one."""
        dtype = torch.promote_types(torch.promote_types(output.dtype, target.dtype), torch.float32)
        output, target = output.to(dtype), target.to(dtype)
        with torch.autocast(output.device.type, enabled=False):
            perceptual = output.new_zeros(()) if self.perceptual is None else self.perceptual(output, target)
            return torch.stack([l1(output, target), multi_scale(output, target), gradient(output, target), perceptual])


def l1(output: Tensor, target: Tensor) -> Tensor:
    """mean|P − T|, a scalar."""
    return (output - target).abs().mean()


def multi_scale(output: Tensor, target: Tensor) -> Tensor:
    """L1 after 2x2 average pooling, a scalar; an odd last row or column is left out.

    Pooling is linear, so one pooling of the difference does for both images.
    """
    return F.avg_pool2d(output - target, 2).abs().mean()


def gradient(output: Tensor, target: Tensor) -> Tensor:
    """½ · (mean‖∂xP| − |∂xT‖ + mean‖∂yP| − |∂yT‖) with forward differences, a scalar.

    The sign of an edge is ignored: its sharpness is compared, its direction is left to L1. Where the output is exactly
    flat, |∂P| has no slope and this term does not push.
    """
    along_x = (output.diff(dim=-1).abs() - target.diff(dim=-1).abs()).abs().mean()
    along_y = (output.diff(dim=-2).abs() - target.diff(dim=-2).abs()).abs().mean()
    return 0.5 * (along_x + along_y)
