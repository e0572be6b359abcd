"""Image quality by the super-resolution field's protocol: PSNR, SSIM, PSNR of Y, and one value from 0 to 1.

All values are float64, per image, and stay on the device of the input. Never averages over images and never changes
its inputs. A large image is processed in strips, so that scoring needs little memory beside the image.

Legend: N = images, C = channels, H, W = pixels. Images are RGB in [0, 1]; dB refer to a full scale of 255.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ddp.vsr.strips import mean_over_rows
from service.errors import UserError

FULL_SCALE = 255.0
SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
SSIM_C1 = (0.01 * FULL_SCALE) ** 2
SSIM_C2 = (0.03 * FULL_SCALE) ** 2
RGB_TO_Y = (65.481, 128.553, 24.966)


class ImageScores(NamedTuple):
    """The scores of N images, each (N,) float64: `psnr_db`, `ssim` of RGB, `quality` in 0…1, and two of Y."""

    psnr_db: Tensor
    ssim: Tensor
    psnr_y_db: Tensor
    quality: Tensor
    ssim_y: Tensor


def score(output: Tensor, target: Tensor, border: int = 0) -> ImageScores:
    """Score `output` against `target`, both (N, 3, H, W), quantized to 8-bit images.

    `border` pixels are cropped on every side, after rounding. Raises UserError for shapes that differ, images that
    are not RGB, or a border that leaves nothing.
    """
    check_images(output, target, border)
    with torch.no_grad():
        output, target = crop(output, border), crop(target, border)
        psnr = _decibels(_mse_in_strips(output, target, quantise), math.prod(output.shape[1:]))
        similarity = _ssim_in_strips(output, target, quantise)
        psnr_y = _decibels(_mse_in_strips(output, target, _quantised_y), math.prod(output.shape[2:]))
        similarity_y = _ssim_in_strips(output, target, _quantised_y)
        return ImageScores(psnr, similarity, psnr_y, quality(psnr, similarity), similarity_y)


def _mse_in_strips(output: Tensor, target: Tensor, convert: Callable[[Tensor], Tensor]) -> Tensor:
    def mean_of(first: int, end: int) -> Tensor:
        return _mse(convert(output[..., first:end, :]), convert(target[..., first:end, :]))

    return mean_over_rows(output.shape[-2], len(output) * output.shape[-1], mean_of)


def _ssim_in_strips(output: Tensor, target: Tensor, convert: Callable[[Tensor], Tensor]) -> Tensor:
    size = _window_size(output)

    def mean_of(first: int, end: int) -> Tensor:
        rows = slice(first, end + size - 1)
        return ssim(convert(output[..., rows, :]), convert(target[..., rows, :]), size)

    return mean_over_rows(output.shape[-2] - size + 1, len(output) * output.shape[-1], mean_of)


def quantise(image: Tensor) -> Tensor:
    """Clamp to [0, 1] and round to the 256 levels of an 8-bit image; float64 in [0, 1], any shape."""
    return (image.double().clamp(0.0, 1.0) * FULL_SCALE).round() / FULL_SCALE


def rgb_to_y(image: Tensor) -> Tensor:
    """Return the luma (N, 1, H, W) of RGB (N, 3, H, W): BT.601, 16…235 of 255, unrounded, as MATLAB's rgb2ycbcr.

    The samples are converted to float32 first, as in the tools behind the published values: that affects the sixth
    decimal of a PSNR. The sum itself is float64.
    """
    weights = image.new_tensor(RGB_TO_Y, dtype=torch.float64).view(1, 3, 1, 1)
    return ((image.float().double() * weights).sum(dim=1, keepdim=True) + 16.0) / FULL_SCALE


def _quantised_y(image: Tensor) -> Tensor:
    return rgb_to_y(quantise(image))


def psnr_db(a: Tensor, b: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio (N,) in dB of images (N, C, H, W), over all samples of an image.

    Identical images would have an infinite PSNR, which cannot be averaged. The mean squared error therefore has a floor
    of 0.25 / n on the 0…255 scale (n = C·H·W samples), as from an error of half a unit in one sample. Two different
    8-bit images have at least 1 / n, so a perfect image scores 6 dB above the best imperfect one of its size.
    """
    return _decibels(_mse(a, b), math.prod(a.shape[1:]))


def _mse(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean squared error (N,) on the 0…255 scale."""
    difference = (a.double() - b.double()) * FULL_SCALE
    return difference.square().flatten(1).mean(dim=1)


def _decibels(mse: Tensor, samples: int) -> Tensor:
    return 10.0 * torch.log10(FULL_SCALE**2 / mse.clamp_min(0.25 / samples))


def ssim(a: Tensor, b: Tensor, window_size: int | None = None) -> Tensor:
    """Return the structural similarity (N,) of images (N, C, H, W): mean over the valid region and over channels.

    Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004: Gaussian window of
    11x11, sigma 1.5, K1 = 0.01, K2 = 0.03. An image with a side below 11 pixels gets the largest odd window that fits,
    with the same sigma, so that it does not end a run; its score is comparable only with images of that size.
    """
    window = _gaussian_window(window_size or _window_size(a), a.device)
    x, y = a.double() * FULL_SCALE, b.double() * FULL_SCALE
    mean_x, mean_y = _blur(x, window), _blur(y, window)
    variance_x = _blur(x * x, window) - mean_x**2
    variance_y = _blur(y * y, window) - mean_y**2
    covariance = _blur(x * y, window) - mean_x * mean_y
    luminance = (2.0 * mean_x * mean_y + SSIM_C1) / (mean_x**2 + mean_y**2 + SSIM_C1)
    structure = (2.0 * covariance + SSIM_C2) / (variance_x + variance_y + SSIM_C2)
    return (luminance * structure).flatten(1).mean(dim=1)


def _window_size(image: Tensor) -> int:
    return min(SSIM_WINDOW, *((side - 1) // 2 * 2 + 1 for side in image.shape[-2:]))


def quality(psnr_db: Tensor, ssim: Tensor) -> Tensor:
    """Return clamp01(0.7 · clamp01((PSNR − 20 dB) / 30 dB) + 0.3 · SSIM) per image, in the shape of the inputs."""
    fidelity = ((psnr_db - 20.0) / 30.0).clamp(0.0, 1.0)
    return (0.7 * fidelity + 0.3 * ssim).clamp(0.0, 1.0)


def check_images(output: Tensor, target: Tensor, border: int) -> None:
    """Raise `UserError` unless both are RGB images (N, 3, H, W) of one size that a border leaves something of."""
    if output.shape != target.shape:
        raise UserError(f"cannot compare images of shapes {tuple(output.shape)} and {tuple(target.shape)}")
    if output.ndim != 4 or output.shape[1] != 3:
        raise UserError(f"cannot score images of shape {tuple(output.shape)}: expected (images, 3, height, width)")
    if border < 0 or min(output.shape[-2:]) <= 2 * border:
        height, width = output.shape[-2:]
        raise UserError(f"a border of {border} pixels leaves nothing of a {height}x{width} image: choose a smaller one")


def crop(image: Tensor, border: int) -> Tensor:
    """Return an image (N, C, H, W) without so many pixels on every side."""
    height, width = image.shape[-2:]
    return image[..., border : height - border, border : width - border]


def _gaussian_window(size: int, device: torch.device) -> Tensor:
    """Return one axis of the window, (size,) float64, with sum 1."""
    offset = torch.arange(size, dtype=torch.float64, device=device) - size // 2
    weights = torch.exp(-(offset**2) / (2.0 * SSIM_SIGMA**2))
    return weights / weights.sum()


def _blur(image: Tensor, window: Tensor) -> Tensor:
    """Average with the window where it fits: (N, C, H, W) -> (N, C, H - size + 1, W - size + 1)."""
    return _blur_axis(_blur_axis(image, window, 2), window, 3)


def _blur_axis(image: Tensor, window: Tensor, axis: int) -> Tensor:
    """Sum weighted shifted views; in float64 on a CPU this is five times as fast as a convolution layer."""
    length = image.shape[axis] - len(window) + 1
    result = image.narrow(axis, 0, length) * window[0]
    for shift in range(1, len(window)):
        result += image.narrow(axis, shift, length) * window[shift]
    return result
