"""Temporal consistency of a clip against the truth, without a network and without optical flow.

dtSSD, the root mean square of the difference between the change of the output and the change of the truth from one
frame to the next: M. Erofeev et al., "Perceptually Motivated Benchmark for Video Matting", BMVC 2015, there of mattes,
here of luma (BT.601, 8-bit output, 0…255). What flickers or swims costs; what is wrong in the same way in all frames,
such as a blur of what stands still, does not.

Legend: N = images, H, W = pixels.
"""

import math

from torch import Tensor

from ddp.vsr.image_quality import FULL_SCALE, check_images, crop, quantise, rgb_to_y


def luma_error(output: Tensor, target: Tensor, border: int = 0) -> Tensor:
    """Return what the luma of 8-bit images (1, 3, H, W) differs by, (H - 2 · border, W - 2 · border), in levels.

    Raises `UserError` as `score`.
    """
    check_images(output, target, border)
    output_y, target_y = (rgb_to_y(quantise(crop(image, border)))[0, 0] for image in (output, target))
    return (output_y - target_y) * FULL_SCALE


def dtssd(error: Tensor, next_error: Tensor) -> float:
    """Return dtSSD in levels, given what the luma of two successive frames differs by; 0 is best."""
    return math.sqrt(float((next_error - error).square().mean()))
