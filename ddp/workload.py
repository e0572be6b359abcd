"""Interface between the trainer and what is trained: a workload builds model, loss and data, and scores images.

A workload runs in one process and is independent of ranks. The setting WORKLOAD is its import path: a module with a
function `build(config: RunConfig) -> Workload`.
"""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from service.config.settings import RunConfig
from service.errors import SettingError


class Batch(Protocol):
    """One micro-batch of one rank, on the CPU, 8-bit; `skipped` names files that could not be read."""

    @property
    def lr(self) -> Tensor:
        """Low-resolution frames (B, T, 3, h, w) uint8."""

    @property
    def gt(self) -> Tensor:
        """Ground truth (B, 3, H, W) uint8."""

    @property
    def skipped(self) -> tuple[str, ...]:
        """Names of unreadable files that were replaced in this micro-batch."""


class UnreadableImageError(Exception):
    """An image of the data cannot be read; it is logged, counted and skipped."""


class Images(Protocol):
    """Validation images by index."""

    names: Sequence[str]

    def read(self, index: int) -> tuple[Tensor, Tensor]:
        """Return LR (T, 3, h, w) and GT (3, H, W), uint8. Raises `UnreadableImageError`."""


@dataclass(frozen=True)
class Share:
    """Share of one rank in the stream of samples."""

    rank: int
    world_size: int
    samples_seen: int


class Workload(Protocol):
    """Interface of a workload: the network and the data of a training."""

    sample_count: int
    """Training samples per epoch."""
    validation_images: Images
    left_out: Sequence[str]
    """`name: reason` of every file that was excluded when the data were opened."""
    has_perceptual: bool
    notices: Sequence[str]
    """Messages for the user, logged once at the start."""

    def build_model(self) -> nn.Module:
        """Build the network: (B, T, 3, h, w) → (B, 3, H, W), values 0…1."""

    def build_loss(self) -> nn.Module:
        """Build the loss: (output, target) → unweighted terms (4,), in the order of `service.loss_terms.LOSS_TERMS`."""

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """Return the optimizer's parameter groups, always in the same order; `lr_factor` scales the rate."""

    def batches(self, share: Share) -> Iterator[Batch]:
        """Return the endless micro-batches of one rank, from any position of the stream on, without replay."""

    def layers(self, model: nn.Module) -> Mapping[str, nn.Module]:
        """Return the layers whose activity is reported, by name, in order."""

    def enlarge(self, lr: Tensor) -> Tensor:
        """Enlarge LR to the size of GT: (B, T, 3, h, w) → (B, 3, H, W)."""

    def score(self, picture: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        """Return the scores (B,) of images (B, 3, H, W): `psnr_db`, `ssim`, `psnr_y_db`, `quality`."""


def load_workload(config: RunConfig) -> Workload:
    """Build the workload that WORKLOAD names. Raises `SettingError` if there is none of that name."""
    try:
        module = importlib.import_module(config.workload)
    except ModuleNotFoundError as error:
        raise SettingError(f"WORKLOAD is {config.workload!r}, but importing it failed: {error}.") from None
    build = getattr(module, "build", None)
    if build is None:
        raise SettingError(f"WORKLOAD {config.workload!r} has no function `build(config)`.")
    workload: Workload = build(config)
    return workload
