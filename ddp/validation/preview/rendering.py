"""Renders clips and validation images with a training's network, beside the enlarged LR.

Legend: T = frames of a window; h, w = LR size; s = scale; H = s h, W = s w.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ddp.distributed.rng import preserved_rng
from ddp.step.out_of_memory import free_memory, is_out_of_memory
from ddp.validation.image_scores import Networks, as_bytes
from ddp.validation.preview.clip_part import ClipPart
from ddp.workload import UnreadableImageError, Workload
from service.errors import UserError

TILE = 256
"""Side of tiles in LR pixels where the network allows tiles: less memory than a training's step on most machines."""
MAX_WHOLE_PIXELS = 512 * 512
"""LR pixels of a frame where it does not."""
MAX_OUTPUT_PIXELS = 32 * 2**20
"""Pixels of all enlarged frames of a preview together."""


class Renderer:
    """Renders with the present weights of `networks`; changes neither them nor any random generator."""

    def __init__(self, device: torch.device, workload: Workload, networks: Networks) -> None:
        self._device = device
        self._workload = workload
        self._networks = networks
        lr, gt = self._first_image()
        self.n_frames = len(lr)
        self.scale = gt.shape[-1] // lr.shape[-1]

    def max_pixels(self, count: int) -> int:
        """Return how many LR pixels each of `count` frames may have."""
        most = MAX_OUTPUT_PIXELS // (self.scale**2 * count)
        return most if self._networks.forward.reach is not None else min(most, MAX_WHOLE_PIXELS)

    def render_image(self, index: int, on_part: Callable[[], None]) -> list[Tensor]:
        """Return LR | KI | GT of a validation image, (3, H, 3 · W) uint8. Raises `UserError`."""
        try:
            lr, gt = self._workload.validation_images.read(index)
        except UnreadableImageError as error:
            raise UserError(f"the validation image cannot be read: {error}") from error
        with self._rendering():
            return [torch.cat([self._lr_and_ki(lr, on_part), gt], dim=-1)]

    def render_part(self, part: ClipPart, on_part: Callable[[], None]) -> list[Tensor]:
        """Return LR | KI of each frame that is shown, (3, H, 2 · W) uint8. Raises `UserError`."""
        with self._rendering():
            windows = (part.window(number, self.n_frames) for number in range(*part.shown))
            return [self._lr_and_ki(torch.from_numpy(window).permute(0, 3, 1, 2), on_part) for window in windows]

    def _lr_and_ki(self, frames: Tensor, on_part: Callable[[], None]) -> Tensor:
        """Map frames (T, 3, h, w) uint8 to LR | KI, (3, H, 2 · W) uint8."""
        on_part()
        lr = frames.unsqueeze(0).to(self._device).float().div_(255)
        enlarged = self._workload.enlarge(lr)
        output = self._networks.forward.run(self._networks.model, lr, enlarged, on_part)
        return torch.cat([as_bytes(enlarged), as_bytes(output)], dim=-1)

    @contextmanager
    def _rendering(self) -> Iterator[None]:
        """Evaluate within the block; what a network says of an input becomes a `UserError`."""
        try:
            with self._networks.evaluating(), preserved_rng(self._device), torch.no_grad():
                yield
        except (RuntimeError, ValueError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise UserError(f"the network cannot be applied to this clip: {error}") from error
            shortage = error
        else:
            return
        free_memory()
        raise UserError("there is not enough memory for frames of this size: ask for smaller ones") from shortage

    def _first_image(self) -> tuple[Tensor, Tensor]:
        """Return a validation image, which says how many frames and pixels the network takes and gives."""
        images = self._workload.validation_images
        for index in range(len(images.names)):
            try:
                return images.read(index)
            except UnreadableImageError:
                continue
        raise UserError("none of the validation images can be read")
