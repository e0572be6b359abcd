"""Dense flow between two luma images, coarse to fine, and how far it can be trusted.

Source: B. D. Lucas and T. Kanade, "An iterative image registration technique with an application to stereo vision",
1981, in the form with the gradients of the fixed image, over a pyramid: J.-Y. Bouguet, "Pyramidal implementation of the
Lucas Kanade feature tracker", 2000.

Legend: N = pairs of images, h, w = their size. A flow is (N, 2, h, w): x, then y, in pixels. Luma is in 0…1.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ddp.vsr.networks.alignment.sampling import box, gradients, places_between, positions, sample_at

LEVELS = 2
ITERATIONS = 3
WINDOW = 11  # pixels
SMOOTHING = 5  # pixels
DAMPING = 3e-4  # of squared gradients per pixel
RELATIVE_DAMPING = 0.02  # of their sum over both axes
LARGEST_UPDATE = 1.0  # pixels of a level
NOISE = 0.01
MISFIT_PER_GRADIENT = 0.25  # pixels


def flow_between(fixed: Tensor, moved: Tensor) -> Tensor:
    """Return the flow (N, 2, h, w): `moved`, sampled at pixel + flow, looks like `fixed`. Both are (N, 1, h, w)."""
    pyramid = [(fixed, moved)]
    for _ in range(LEVELS - 1):
        pyramid.append((_halved(pyramid[-1][0]), _halved(pyramid[-1][1])))
    coarsest = pyramid[-1][0]
    flow = coarsest.new_zeros(1).expand(coarsest.shape[0], 2, coarsest.shape[-2], coarsest.shape[-1])
    for level in reversed(range(LEVELS)):
        fixed, moved = pyramid[level]
        if level < LEVELS - 1:
            finer = places_between(flow, fixed.shape[-2], fixed.shape[-1], 0.5, -0.25)
            flow = 2 * sample_at(flow, finer.expand(flow.shape[0], 2, fixed.shape[-2], fixed.shape[-1]))
        flow = box(_improved(flow, fixed, moved), SMOOTHING)
    return flow


def inverse_of(flow: Tensor) -> Tensor:
    """Return the flow back, (N, 2, h, w): minus the flow, found where it came from, to first order."""
    return -sample_at(flow, positions(-flow))


def confidence_of(fixed: Tensor, aligned: Tensor) -> Tensor:
    """Return how far each pixel of an aligned image can be trusted, 0…1, (N, 1, h, w).

    exp(-(e / (NOISE + MISFIT_PER_GRADIENT a))²), with e the mean |difference| of 3x3 pixels and a that of |gradient|:
    a flow wrong by a quarter of a pixel counts 1/e.
    """
    along_x, along_y = gradients(fixed)
    misfit = box((aligned - fixed).abs(), 3)
    edges = box(torch.sqrt(along_x.square() + along_y.square()), 3)
    return torch.exp(-(misfit / (NOISE + MISFIT_PER_GRADIENT * edges)).square())


def _halved(image: Tensor) -> Tensor:
    """Return the means of 2x2 pixels; an odd last row or column counts twice."""
    return F.avg_pool2d(F.pad(image, (0, 1, 0, 1), mode="replicate"), 2)


def _improved(flow: Tensor, fixed: Tensor, moved: Tensor) -> Tensor:
    along_x, along_y = gradients(fixed)
    products = torch.cat([along_x * along_x, along_x * along_y, along_y * along_y], dim=1)
    xx, xy, yy = box(products, WINDOW).split(1, dim=1)
    damping = DAMPING + RELATIVE_DAMPING * (xx + yy)
    xx, yy = xx + damping, yy + damping
    determinant = xx * yy - xy * xy
    for _ in range(ITERATIONS):
        difference = sample_at(moved, positions(flow)) - fixed
        of_x, of_y = box(torch.cat([along_x * difference, along_y * difference], dim=1), WINDOW).split(1, dim=1)
        update = torch.cat([xy * of_y - yy * of_x, xy * of_x - xx * of_y], dim=1) / determinant
        flow = flow + update.clamp(-LARGEST_UPDATE, LARGEST_UPDATE)
    return flow
