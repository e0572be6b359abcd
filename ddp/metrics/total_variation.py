"""How much fine detail pictures hold, so that output and target can be compared: the controller's sense of blur."""

import torch
from torch import Tensor


def total_variation(output: Tensor, target: Tensor) -> Tensor:
    """Mean |difference| of neighbouring pixels of each, (B, 3, H, W): (2,), the mean of along x and along y.

    Both at once, because small pictures cost by the number of operations.
    """
    pictures = torch.stack([output, target])  # (2, B, 3, H, W)
    along_x = (pictures[..., 1:] - pictures[..., :-1]).abs().flatten(1).mean(1)
    along_y = (pictures[..., 1:, :] - pictures[..., :-1, :]).abs().flatten(1).mean(1)
    return 0.5 * (along_x + along_y)
