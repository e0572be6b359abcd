"""How a step's values reach all ranks without a collective of their own: as a passenger of the gradients.

The passenger is a parameter of zeros beside the network. `carry(values)` adds 0 · values to the loss, so its gradient
*is* `values`; DDP averages it over ranks together with all other gradients, and accumulation over micro-batches. After
backward every rank holds the same means, to the last bit, and nothing waited for a device.

Legend: V = number of values.
"""

import torch
from torch import Tensor, nn


class PiggybackModule(nn.Module):
    """A network and a parameter (V,) that travels with its gradients. The passenger is never optimised nor saved."""

    def __init__(self, network: nn.Module, value_count: int, device: torch.device) -> None:
        super().__init__()
        self.network = network
        self.piggyback = nn.Parameter(torch.zeros(value_count, device=device))

    def forward(self, lr: Tensor) -> Tensor:
        """What the network makes of its input."""
        output: Tensor = self.network(lr)
        return output

    def attach(self, values: Tensor) -> Tensor:
        """A scalar 0 to add to the loss; its backward puts `values` (V,), detached, into the passenger's gradient."""
        return (self.piggyback * values.detach()).sum()

    def reduced(self) -> Tensor:
        """The means (V,) over micro-batches and ranks, once backward is done."""
        gradient = self.piggyback.grad
        assert gradient is not None, "nothing was carried in this step"
        return gradient.clone()
