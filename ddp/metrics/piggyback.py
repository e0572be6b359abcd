"""Exchange of a step's values between ranks without a separate collective: they travel with the gradients.

The module adds a parameter of zeros beside the network. `attach(values)` adds 0 · values to the loss, so the gradient
of the parameter is `values`; DDP averages it over ranks with all other gradients, and accumulation averages it over
micro-batches. After backward every rank holds bit-identical means, and nothing has waited for a device.

Legend: V = number of values.
"""

import torch
from torch import Tensor, nn


class PiggybackModule(nn.Module):
    """A network and a parameter (V,) whose gradient carries values. The parameter is neither optimized nor saved."""

    def __init__(self, network: nn.Module, value_count: int, device: torch.device) -> None:
        super().__init__()
        self.network = network
        self.piggyback = nn.Parameter(torch.zeros(value_count, device=device))

    def forward(self, lr: Tensor) -> Tensor:
        """Return the network's output."""
        output: Tensor = self.network(lr)
        return output

    def attach(self, values: Tensor) -> Tensor:
        """Return a 0 () to add to the loss; its backward adds `values` (V,), detached, to the parameter's gradient."""
        return torch.dot(self.piggyback, values.detach())

    def reduced(self) -> Tensor:
        """Return the means (V,) over micro-batches and ranks, after the last backward of a step; do not keep them.

        They are the gradient itself, which lies in DDP's buckets.
        """
        gradient = self.piggyback.grad
        assert gradient is not None, "nothing was carried in this step"
        return gradient
