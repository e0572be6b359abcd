"""Runs a network on windows of frames, in overlapping tiles that fit into memory.

Legend: T = frames of a window, h, w = size of a frame, s = scale, H = s h, W = s w.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ddp.inference.network import TrainedNetwork
from ddp.inference.upscale.input.clip import InputFrame
from ddp.step.out_of_memory import is_out_of_memory
from ddp.validation.tiles import ImageForward
from service.errors import MemoryShortageError

MEMORY_BYTES = 1536 * 1024**2
"""What one pass of the network may take on a CPU, where too much of it ends the process without a word."""
COPIES = 4
"""Outputs of the size of the largest one that a network holds at the same time, or fewer."""
SMALLEST_TILE = 32
PROBE_SIDE = 16


class Enlarger:
    """A network on its device. On GPUs it computes in bfloat16 where they can, and takes smaller tiles where it must.

    `tile` is the side of a tile in pixels of a frame, without its margin; 0 to choose it.
    """

    def __init__(self, network: TrainedNetwork, device: torch.device, tile: int = 0, *, is_exact: bool = False) -> None:
        """With `is_exact`, compute in float32 everywhere."""
        self._module = network.module.to(device)
        self._scale = network.scale
        self._device = device
        self._is_half = not is_exact and device.type == "cuda" and torch.cuda.is_bf16_supported()
        side = tile or (0 if device.type == "cuda" else side_for(network, MEMORY_BYTES))
        self._forward = ImageForward(side if network.reach is not None else 0, network.reach)

    def prepare(self, frame: InputFrame) -> Tensor:
        """Return a frame on the device, (3, h, w) uint8."""
        return torch.from_numpy(frame.picture).to(self._device).permute(2, 0, 1)

    def enlarge(self, window: Sequence[Tensor]) -> Tensor:
        """Map T frames (3, h, w) uint8 to (3, H, W) in 0…1. Raises `MemoryShortageError`."""
        lr = torch.stack(list(window)).unsqueeze(0).float().div_(255)
        height, width = (self._scale * side for side in lr.shape[-2:])
        try:
            with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._is_half):
                output = self._forward.run(self._module, lr, lr.new_empty(1, 3, height, width), lambda: None)
                return output[0].float().clamp_(0, 1)
        except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
            if not is_out_of_memory(error):
                raise
        raise MemoryShortageError(
            f"A frame of {width // self._scale}x{height // self._scale} pixels does not fit into the memory of "
            f"{self._device}: give --tile a smaller number of pixels, or use a machine with more memory."
        )


def side_for(network: TrainedNetwork, memory_bytes: int) -> int:
    """Return the side of tiles with which a pass of the network takes about `memory_bytes`, margins included."""
    pixels = memory_bytes / (4 * COPIES * _largest_output(network))
    return max(SMALLEST_TILE, int(math.sqrt(pixels)) - 2 * (network.reach or 0))


def _largest_output(network: TrainedNetwork) -> float:
    """Return the size of the largest output of a layer, in numbers per pixel of a frame."""
    sizes: list[int] = []

    def note(_module: nn.Module, _inputs: object, output: object) -> None:
        parts = output if isinstance(output, tuple) else (output,)
        sizes.append(sum(part.numel() for part in parts if isinstance(part, Tensor)))

    handles = [module.register_forward_hook(note) for module in network.module.modules()]
    with torch.inference_mode():
        network.module(torch.zeros(1, network.n_frames, 3, PROBE_SIDE, PROBE_SIDE))
    for handle in handles:
        handle.remove()
    return max(sizes) / PROBE_SIDE**2
