"""EMA weights: the exponential moving average of the network's weights, which often scores better than the network.

average ← average + (1 − decay) · (weights − average), after every step that was not skipped (Polyak and Juditsky, 1992;
in the exponential form that public super-resolution trainers use).
"""

import copy

import torch
from torch import Tensor, nn


class EmaModel:
    """Moving average of a network's weights, as a second network. Every rank has one, with equal weights."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._source = model
        self.model = copy.deepcopy(model).requires_grad_(False)

    @torch.no_grad()
    def update(self, skipped: Tensor) -> None:
        """Update the average after one optimizer step; `skipped` (), on the device, is 1 if the step was skipped."""
        averages: list[Tensor] = list(self.model.parameters())
        weights: list[Tensor] = list(self._source.parameters())
        moves = torch._foreach_sub(weights, averages)
        torch._foreach_mul_(moves, (1.0 - self._decay) * (1.0 - skipped))
        torch._foreach_add_(averages, list(moves))
        for ema, buffer in zip(self.model.buffers(), self._source.buffers(), strict=True):
            ema.copy_(buffer)
