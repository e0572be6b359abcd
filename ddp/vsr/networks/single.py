"""The single-frame network: the control that shows what a network's neighbours are worth.

    centre frame ──trunk──> + bicubic enlargement of it

Legend: B = batch, T = frames, s = scale, h, w = LR pixels.
"""

from torch import Tensor, nn

from ddp.vsr.networks.alignment.degradation import Degradation
from ddp.vsr.networks.alignment.enlarging import BicubicEnlarging
from ddp.vsr.networks.residual_trunk import ResidualTrunk, trunk_reach

CHANNELS = 3


class SingleFrame(nn.Module):
    """Network from the centre of T frames, for any T, to that frame enlarged."""

    def __init__(self, n_feats: int, n_blocks: int, degradation: Degradation, activation_checkpointing: bool) -> None:
        super().__init__()
        self.bicubic = BicubicEnlarging(degradation)
        self.trunk = ResidualTrunk(CHANNELS, n_feats, n_blocks, degradation.scale, activation_checkpointing)

    def forward(self, lr: Tensor) -> Tensor:
        """Map (B, T, 3, h, w) RGB in [0, 1] to (B, 3, s·h, s·w), about [0, 1] but not clamped."""
        centre = lr[:, lr.shape[1] // 2]
        return self.trunk(centre) + self.bicubic(centre)


def reach_for(n_blocks: int) -> int:
    """Return how many LR pixels away a pixel of the output depends on."""
    return max(trunk_reach(n_blocks), 2)
