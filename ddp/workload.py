"""Interface between the trainer and what is trained: a workload builds model, loss and data, and scores images.

A workload runs in one process and is independent of ranks. The setting WORKLOAD is its import path: a module with a
function `build(config: RunConfig) -> Workload`.
"""

import hashlib
import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from service.config.settings import RunConfig
from service.errors import SettingError


class Batch(Protocol):
    """One micro-batch of one rank, on the CPU, 8-bit; `skipped` has a sentence for each file that was not read."""

    @property
    def lr(self) -> Tensor:
        """Low-resolution frames (B, T, 3, h, w) uint8."""

    @property
    def gt(self) -> Tensor:
        """Ground truth (B, 3, H, W) uint8."""

    @property
    def skipped(self) -> tuple[str, ...]:
        """`name: reason` of unreadable files that were replaced in this micro-batch."""


class UnreadableImageError(Exception):
    """An image of the data cannot be read; it is logged, counted and skipped."""


class Images(Protocol):
    """Validation images by index."""

    names: Sequence[str]

    def read(self, index: int) -> tuple[Tensor, Tensor]:
        """Return LR (T, 3, h, w) and GT (3, H, W), uint8. Raises `UnreadableImageError`."""


@runtime_checkable
class Grouped(Protocol):
    """What images add if they are of several sets."""

    sets: Sequence[str]
    """The name of the set of each image."""


def sets_of(images: Images) -> tuple[str, ...]:
    """Return the name of the set of each image; nothing if the images know of no sets."""
    return tuple(images.sets) if isinstance(images, Grouped) else ()


@dataclass(frozen=True)
class Share:
    """Share of one rank in the stream of samples; `samples_seen` counts from the start with the present data."""

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
        """Return scores (B,) of images (B, 3, H, W): `psnr_db`, `ssim`, `psnr_y_db`, `quality`; `ssim_y` if known."""


@dataclass(frozen=True)
class DataIdentity:
    """What tells whether data are the same as before: two fingerprints, and how much there is."""

    training: str
    validation: str
    sample_count: int
    image_count: int


@runtime_checkable
class Fingerprinted(Protocol):
    """What a workload adds if more than the numbers of samples and the names of images tells its data from others."""

    training_fingerprint: str
    validation_fingerprint: str


def data_identity(workload: Workload) -> DataIdentity:
    """Return the identity of a workload's data."""
    names = workload.validation_images.names
    training, validation = fingerprint([str(workload.sample_count)]), fingerprint(names)
    if isinstance(workload, Fingerprinted):
        training, validation = workload.training_fingerprint, workload.validation_fingerprint
    return DataIdentity(training, validation, workload.sample_count, len(names))


def fingerprint(lines: Iterable[str]) -> str:
    """Return 16 hexadecimal digits that differ for different lines."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


@runtime_checkable
class Tileable(Protocol):
    """What a workload adds if its network can be run on a part of an image."""

    reach: int
    """LR pixels on each side on which a pixel of the output depends: how far its convolutions see, all in all."""


def reach_of(workload: Workload) -> int | None:
    """Return the reach of a workload's network; None if it has none, as with attention over the whole image."""
    return workload.reach if isinstance(workload, Tileable) else None


@dataclass(frozen=True)
class Network:
    """An untrained network without its data: (1, T, 3, h, w) → (1, 3, H, W); its reach as in `Tileable`."""

    module: nn.Module
    reach: int | None


def load_network(config: RunConfig) -> Network:
    """Build the network of the workload that WORKLOAD names, for use without its data.

    The workload's module has a function `build_network(config: RunConfig) -> Network` for it. Raises `SettingError`.
    """
    build_network = getattr(_module_of(config), "build_network", None)
    if build_network is None:
        raise SettingError(
            f"WORKLOAD {config.workload!r} has no function `build_network(config)`, so that its network cannot be used "
            "without its data."
        )
    network: Network = build_network(config)
    return network


def _module_of(config: RunConfig) -> ModuleType:
    """Import the module that WORKLOAD names. Raises `SettingError`."""
    try:
        return importlib.import_module(config.workload)
    except ModuleNotFoundError as error:
        raise SettingError(f"WORKLOAD is {config.workload!r}, but importing it failed: {error}.") from None


def load_workload(config: RunConfig) -> Workload:
    """Build the workload that WORKLOAD names. Raises `SettingError` if there is none, or VAL_TILE is impossible."""
    build = getattr(_module_of(config), "build", None)
    if build is None:
        raise SettingError(f"WORKLOAD {config.workload!r} has no function `build(config)`.")
    workload: Workload = build(config)
    if config.val_tile and reach_of(workload) is None:
        raise SettingError(
            f"VAL_TILE is {config.val_tile}, but WORKLOAD {config.workload!r} does not say how far its network sees "
            "(`reach`), so that tiles are not possible; set VAL_TILE to 0."
        )
    return workload
