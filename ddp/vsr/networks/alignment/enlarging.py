"""Bicubic enlargement of LR pixels to where their degradation has them, and the degradation itself, on tensors.

Legend: N = images, C = channels, s = scale, h, w = LR size, H = s h, W = s w.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddp.vsr.networks.alignment.degradation import Degradation, enlarging_taps
from ddp.vsr.networks.alignment.sampling import prefers_shifts


class BicubicEnlarging(nn.Module):
    """(N, C, h, w) → (N, C, H, W): Keys' bicubic interpolation (a = -0.5), beyond the edge is the edge."""

    def __init__(self, degradation: Degradation) -> None:
        super().__init__()
        taps = torch.from_numpy(enlarging_taps(degradation))
        weights = torch.einsum("ay,bx->abyx", taps, taps).flatten(0, 1).unsqueeze(1)  # (s², 1, 5, 5)
        self._scale = degradation.scale
        # In no checkpoint: the settings say it.
        self.register_buffer("weights", weights.float(), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Enlarge every channel for itself, also within autocast in the type of the image."""
        single = F.pad(image.flatten(0, 1).unsqueeze(1), (2, 2, 2, 2), mode="replicate")
        with torch.autocast(image.device.type, enabled=False):
            phases = F.conv2d(single, self.get_buffer("weights").to(image.dtype))
        enlarged = F.pixel_shuffle(phases, self._scale)
        return enlarged.squeeze(1).unflatten(0, (image.shape[0], image.shape[1]))


class Blurring(nn.Module):
    """(N, 1, H, W) → (N, 1, H, W): the value at s·u is LR pixel u of a picture; beyond the edge is the edge."""

    def __init__(self, degradation: Degradation) -> None:
        super().__init__()
        self._pad = (-degradation.first, degradation.last) * 2
        self._taps = degradation.taps

    def forward(self, picture: Tensor) -> Tensor:
        """Blur along both axes."""
        padded = F.pad(picture, self._pad, mode="replicate")
        if not prefers_shifts(picture):
            taps = padded.new_tensor(self._taps)
            return F.conv2d(F.conv2d(padded, taps.view(1, 1, -1, 1)), taps.view(1, 1, 1, -1))
        return self._along(self._along(padded, 2), 3)

    def _along(self, picture: Tensor, axis: int) -> Tensor:
        length = picture.shape[axis] - len(self._taps) + 1
        blurred = picture.narrow(axis, 0, length) * self._taps[0]
        for shift, tap in enumerate(self._taps[1:], start=1):
            blurred = torch.add(blurred, picture.narrow(axis, shift, length), alpha=tap)
        return blurred
