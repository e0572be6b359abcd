"""How much fine detail pictures hold, so that output and target can be compared: the controller's sense of blur."""

from torch import Tensor


def detail(pictures: Tensor) -> Tensor:
    """Mean |difference| of neighbouring pixels of (B, 3, H, W), the mean of along x and along y; a scalar."""
    return 0.5 * (pictures.diff(dim=-1).abs().mean() + pictures.diff(dim=-2).abs().mean())
