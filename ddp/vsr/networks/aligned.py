"""The network behind an alignment: what the neighbours say of the centre's detail is worked out before the trunk.

    luma of the frames ──back-projection──> estimate (B, 1, s·h, s·w), confidence (B, T - 1, h, w)
    [centre RGB, GAIN x (estimate - bicubic), confidence], all at LR ──trunk──> + bicubic

The untrained network gives the bicubic picture. To begin with the estimate instead was worse after 30 s of training, by
0.04 to 0.13 dB on five clips of five.

Legend: B = batch, T = frames, s = scale, h, w = LR pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddp.vsr.networks.alignment.back_projection import BackProjection
from ddp.vsr.networks.alignment.degradation import Degradation
from ddp.vsr.networks.residual_trunk import ResidualTrunk, trunk_reach

GAIN = 8.0
"""Factor on the differences, which are small beside the pixels, so that a short training makes use of them."""
ALIGNMENT_REACH = 64
"""LR pixels beyond which the alignment sees practically nothing.

A bound that holds for every flow would be several times that: the flow of each iteration is sampled with that of the
one before. Tests hold tiles with this margin to the whole picture.
"""
LUMA = (0.299, 0.587, 0.114)


class Aligned(nn.Module):
    """Network from T frames, for any T from 1 on, to the centre frame enlarged."""

    def __init__(self, n_feats: int, n_blocks: int, degradation: Degradation, activation_checkpointing: bool) -> None:
        super().__init__()
        self._scale = degradation.scale
        self.alignment = BackProjection(degradation)
        channels = 3 + degradation.scale**2 + 1
        self.trunk = ResidualTrunk(channels, n_feats, n_blocks, degradation.scale, activation_checkpointing)

    def forward(self, lr: Tensor) -> Tensor:
        """Map (B, T, 3, h, w) RGB in [0, 1] to (B, 3, s·h, s·w), about [0, 1] but not clamped."""
        with torch.no_grad(), torch.autocast(lr.device.type, enabled=False):
            features, picture = self._evidence(lr.to(torch.promote_types(lr.dtype, torch.float32)))
        return self.trunk(features) + picture

    def _evidence(self, lr: Tensor) -> tuple[Tensor, Tensor]:
        """Return the trunk's input (B, 3 + s² + 1, h, w) and the picture to which its output is added."""
        centre = lr[:, lr.shape[1] // 2]
        fused = self.alignment(_luma(lr))
        detail = fused.estimate - fused.enlarged
        features = [centre, GAIN * F.pixel_unshuffle(detail, self._scale), fused.confidence.mean(1, keepdim=True)]
        return torch.cat(features, dim=1), self.alignment.enlarge(centre)


def _luma(lr: Tensor) -> Tensor:
    """Return luma (B, T, h, w) of RGB (B, T, 3, h, w): BT.601."""
    red, green, blue = lr.unbind(2)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def reach_for(n_blocks: int) -> int:
    """Return how many LR pixels away a pixel of the output depends on, as far as can be seen in it."""
    return trunk_reach(n_blocks) + ALIGNMENT_REACH
