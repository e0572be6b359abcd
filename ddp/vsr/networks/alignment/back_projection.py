"""One picture from several frames: the finer luma that, degraded and moved, gives all of them.

    neighbours ──flow, confidence──┐
    centre ──bicubic──> estimate ──blur, sample at the LR pixels of each frame──> errors ──carried back, added──┐
                           ↑────────────────────────────────────── STEPS times ─────────────────────────────────┘

Source: M. Irani and S. Peleg, "Improving resolution by image registration", 1991 (iterated back-projection), with the
errors of each frame weighted by its confidence, which is 1 for the centre.

Legend: B = batch, T = frames, N = B T, h, w = LR pixels, s = scale, H = s h, W = s w.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ddp.vsr.networks.alignment.degradation import Degradation
from ddp.vsr.networks.alignment.enlarging import BicubicEnlarging, Blurring
from ddp.vsr.networks.alignment.flow import confidence_of, flow_between, inverse_of
from ddp.vsr.networks.alignment.sampling import grid_of, places_between, positions, sample, sample_at

STEPS = 5


class Fused(NamedTuple):
    """Luma (B, 1, H, W) of bicubic enlargement and of the estimate, and how far each neighbour is believed.

    `confidence` is (B, T - 1, h, w) in 0…1, of the frames without the centre, in their order.
    """

    enlarged: Tensor
    estimate: Tensor
    confidence: Tensor


class Links(NamedTuple):
    """How the frames and the centre's HR pixels are linked: frames first, where each row is N = B T images.

    `seen` (N, h, w, 2): the grid of the HR picture at which a frame's pixels are. `carried` (N, H, W, 2): the grid of a
    frame at which the HR pixels are. `weights` (B, T, H, W): the share of each frame in an update; they sum to 1.
    """

    seen: Tensor
    carried: Tensor
    weights: Tensor


class Linking(nn.Module):
    """Flow (B, T - 1, 2, h, w) from the centre to the others, and their confidence (B, T - 1, h, w) → `Links` of all.

    The centre is the first frame. A module, as whoever estimates the memory looks at what modules give.
    """

    def __init__(self, degradation: Degradation) -> None:
        super().__init__()
        self._scale, self._middle = degradation.scale, degradation.middle

    def forward(self, flow: Tensor, confidence: Tensor) -> Links:
        """Link all frames."""
        batch, others, _, height, width = flow.shape
        still, believed = flow.new_zeros(batch, 1, 2, height, width), flow.new_ones(batch, 1, height, width)
        flow = torch.cat([still, flow], dim=1).flatten(0, 1)
        high, wide = self._scale * height, self._scale * width
        seen = grid_of(self._scale * positions(inverse_of(flow)), high, wide)
        places = places_between(flow, high, wide, 1 / self._scale, -self._middle / self._scale)
        fine = grid_of(places, height, width).expand(flow.shape[0], high, wide, 2)
        carried = grid_of(places + sample(flow, fine), height, width)
        confidence = torch.cat([believed, confidence], dim=1).flatten(0, 1).unsqueeze(1)
        weights = sample(confidence, fine).view(batch, others + 1, high, wide)
        return Links(seen, carried, weights / weights.sum(dim=1, keepdim=True))


class BackProjection(nn.Module):
    """(B, T, h, w) luma in 0…1 → `Fused`, around the middle frame T // 2. Has no parameters."""

    def __init__(self, degradation: Degradation, steps: int = STEPS) -> None:
        super().__init__()
        self.enlarge = BicubicEnlarging(degradation)
        self._link = Linking(degradation)
        self._blur = Blurring(degradation)
        self._steps = steps

    def forward(self, luma: Tensor) -> Fused:
        """Fuse the frames."""
        middle = luma.shape[1] // 2
        centre = luma[:, middle : middle + 1]
        others = torch.cat([luma[:, :middle], luma[:, middle + 1 :]], dim=1)
        flow, confidence = _matched(centre, others)
        enlarged = self.enlarge(centre)
        estimate = self._refined(enlarged, torch.cat([centre, others], dim=1), self._link(flow, confidence))
        return Fused(enlarged, estimate, confidence)

    def _refined(self, picture: Tensor, frames: Tensor, links: Links) -> Tensor:
        """Take all steps from `picture` (B, 1, H, W) on."""
        observed = frames.flatten(0, 1).unsqueeze(1)
        for _ in range(self._steps):
            blurred = self._blur(picture).expand(links.weights.shape).flatten(0, 1).unsqueeze(1)
            errors = observed - sample(blurred, links.seen)
            update = links.weights * sample(errors, links.carried).view(links.weights.shape)
            picture = picture + update.sum(dim=1, keepdim=True)
        return picture


def _matched(centre: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Return the flow (B, T - 1, 2, h, w) from the centre to the others, and their confidence (B, T - 1, h, w)."""
    batch, count, height, width = others.shape
    fixed = centre.expand(batch, count, height, width).flatten(0, 1).unsqueeze(1)
    moved = others.flatten(0, 1).unsqueeze(1)
    if not count:
        return others.new_zeros(batch, 0, 2, height, width), others
    flow = flow_between(fixed, moved)
    confidence = confidence_of(fixed, sample_at(moved, positions(flow)))
    return flow.view(batch, count, 2, height, width), confidence.view(batch, count, height, width)
