"""EMA weights: an average of the network over its steps, often better than the network itself.

average ← average + (1 − decay) · (weights − average), after every step that was not skipped (Polyak and Juditsky, 1992;
with this exponential form as in every public super-resolution trainer).
"""

import copy

import torch
from torch import Tensor, nn


class EmaModel:
    """A second copy of a network that follows the first. Owned by one rank; all ranks hold the same."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._source = model
        self.model = copy.deepcopy(model).requires_grad_(False)

    @torch.no_grad()
    def update(self, skipped: Tensor) -> None:
        """Follow by one step; `skipped` () is 1 for a step that changed nothing, on the device, so nobody waits."""
        averages: list[Tensor] = list(self.model.parameters())
        weights: list[Tensor] = list(self._source.parameters())
        moves = torch._foreach_sub(weights, averages)
        torch._foreach_mul_(moves, (1.0 - self._decay) * (1.0 - skipped))
        torch._foreach_add_(averages, list(moves))
        for ema, buffer in zip(self.model.buffers(), self._source.buffers(), strict=True):
            ema.copy_(buffer)
