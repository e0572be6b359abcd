"""The trunk of the networks without recurrence: convolutions at the size of the LR frame, then one PixelShuffle.

    features ──join 3x3──> first ──blocks──(+ first)──enlarge 3x3──> PixelShuffle

Legend: B = batch, C = channels that come in, F = feature channels, s = scale, h, w = LR pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class PlainBlock(nn.Module):
    """Residual block: input + conv 3x3(ReLU(conv 3x3(input))), without normalization.

    Source: B. Lim et al., "Enhanced deep residual networks for single image super-resolution", 2017.
    """

    def __init__(self, n_feats: int, activation_checkpointing: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_feats, n_feats, 3, padding=1)
        self.conv2 = nn.Conv2d(n_feats, n_feats, 3, padding=1)
        self._recomputes = activation_checkpointing

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, F, h, w) to the same shape."""
        if self._recomputes and self.training:
            return x + checkpoint(self._residual, x, use_reentrant=False)
        return x + self._residual(x)

    def _residual(self, x: Tensor) -> Tensor:
        return self.conv2(F.relu(self.conv1(x)))


class ResidualTrunk(nn.Module):
    """(B, C, h, w) → residual picture (B, 3, s·h, s·w).

    The last convolution is zero at first, so that the untrained network gives the picture to which this is added.
    """

    def __init__(self, channels: int, n_feats: int, n_blocks: int, scale: int, activation_checkpointing: bool) -> None:
        super().__init__()
        self.join = nn.Conv2d(channels, n_feats, 3, padding=1)
        self.blocks = nn.Sequential(*(PlainBlock(n_feats, activation_checkpointing) for _ in range(n_blocks)))
        self.enlarge = nn.Conv2d(n_feats, 3 * scale**2, 3, padding=1)
        self._scale = scale
        nn.init.zeros_(self.enlarge.weight)
        assert self.enlarge.bias is not None
        nn.init.zeros_(self.enlarge.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Return the residual, in at least float32, whatever the trunk was computed in."""
        first = self.join(features)
        residual = F.pixel_shuffle(self.enlarge(first + self.blocks(first)), self._scale)
        return residual.to(torch.promote_types(residual.dtype, torch.float32))

    def layers(self) -> dict[str, nn.Module]:
        """Return the layers whose activity is reported, by the names and in the order of `layer_activity_map`."""
        blocks = {f"Block_{i:02d}": block for i, block in enumerate(self.blocks, start=1)}
        return {"Join": self.join, **blocks, "Enlarge": self.enlarge}


def trunk_reach(n_blocks: int) -> int:
    """Return how many LR pixels away the trunk sees: one for each convolution of 3x3 on the way."""
    return 1 + 2 * n_blocks + 1
