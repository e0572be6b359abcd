"""Crops of held-out pictures side by side, to look at."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from bench.pictures.held_out import HeldOut, Window, pictures_of

SIDE = 144


def write_crops(
    folder: Path, windows: Mapping[HeldOut, Sequence[Window]], networks: Mapping[str, Callable[[Tensor], Tensor]]
) -> None:
    """Write for each clip one strip of the middle of its first window: each network in order, then the truth."""
    folder.mkdir(parents=True, exist_ok=True)
    for clip, of_clip in windows.items():
        truth = of_clip[0].gt.float() / 255
        shown = [picture[0] for network in networks.values() for _, picture in pictures_of(of_clip[:1], network)]
        top, left = _busiest(truth)
        strip = torch.cat([picture[:, top : top + SIDE, left : left + SIDE] for picture in (*shown, truth)], dim=2)
        pixels = (strip.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"{clip.name}.jpg", quality=88, subsampling=0)


def _busiest(truth: Tensor) -> tuple[int, int]:
    """Return the corner of the crop with the strongest edges."""
    edges = truth.mean(0).diff(dim=0)[:, :-1].abs() + truth.mean(0).diff(dim=1)[:-1].abs()
    sums = torch.nn.functional.avg_pool2d(edges[None, None], SIDE, SIDE // 4)[0, 0]
    place = int(sums.argmax())
    return place // sums.shape[1] * (SIDE // 4), place % sums.shape[1] * (SIDE // 4)
