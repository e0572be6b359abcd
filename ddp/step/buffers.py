"""Buffers that forward passes change, such as the running means of batch normalization: equal on all ranks.

Each rank's forward passes see other samples. At the end of every step all ranks take rank 0's buffers, as DDP does at
the beginning of the next one: so validations, checkpoints and what resumes from them have the same buffers, and whether
and when there was one changes nothing. A skipped step changes no buffer, as it changes no weight.

Whether a network changes its buffers is found out at the first step after each start.
"""

import torch
from torch import Tensor, nn

from ddp.distributed.world import World


class ChangingBuffers:
    """Buffers of one network that its forward passes change. All ranks call every method at the same step."""

    def __init__(self, world: World, model: nn.Module) -> None:
        self._world = world
        self._model = model
        self._changing = list(model.buffers())  # all that may change, until the first step has shown which do
        self._is_known = not self._changing
        self._before: list[Tensor] = []
        self._is_in_step = False

    def copies(self) -> dict[str, Tensor]:
        """Return copies of the buffers that forward passes may change, by all their names in the network."""
        if not self._changing:
            return {}
        changing = {id(buffer) for buffer in self._changing}
        named = self._model.named_buffers(remove_duplicate=False)
        return {name: buffer.detach().clone() for name, buffer in named if id(buffer) in changing}

    def begin_step(self) -> None:
        """Remember the buffers before the forward passes of a step."""
        self._before = [buffer.clone() for buffer in self._changing]
        self._is_in_step = True

    def end_step(self) -> None:
        """Take rank 0's buffers, after the forward passes of a step. Waits for the device at the first step only."""
        if not self._is_known:
            self._find_changing()
        self._world.take_from_main(self._changing)

    def undo_if(self, skipped: Tensor) -> None:
        """Restore the buffers of before the step where `skipped`, () on the device, is 1; the step ends with this."""
        for buffer, before in zip(self._changing, self._before, strict=True):
            buffer.detach().copy_(torch.where(skipped > 0, before, buffer))
        self._is_in_step = False

    def discard_step(self) -> None:
        """Restore the buffers of before a step that was begun and will not be finished."""
        if self._is_in_step:
            for buffer, before in zip(self._changing, self._before, strict=True):
                buffer.detach().copy_(before)

    def _find_changing(self) -> None:
        pairs = list(zip(self._changing, self._before, strict=True))
        changes = torch.tensor([float(not torch.equal(buffer, before)) for buffer, before in pairs])
        kept = [pair for pair, change in zip(pairs, self._world.sum(changes).tolist(), strict=True) if change]
        self._changing, self._before = [buffer for buffer, _ in kept], [before for _, before in kept]
        self._is_known = True
