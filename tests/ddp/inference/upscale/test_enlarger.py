"""Tiles that fit into memory, and joins that are not seen."""

import torch

from ddp.inference.upscale.enlarger import Enlarger, side_for
from tests.ddp.inference.conftest import trained

CPU = torch.device("cpu")


def test_tiles_give_the_picture_of_the_whole() -> None:
    network = trained()
    window = [torch.randint(0, 256, (3, 50, 70), dtype=torch.uint8) for _ in range(5)]
    whole = Enlarger(network, CPU, tile=1000).enlarge(window)
    tiled = Enlarger(network, CPU, tile=17).enlarge(window)
    assert whole.shape == (3, 150, 210)
    assert (whole - tiled).abs().max() < 1e-5  # other sizes are summed in other orders


def test_a_tile_is_as_large_as_memory_allows() -> None:
    small, large = trained(n_feats=4), trained(n_feats=64)
    assert side_for(small, 10**9) > 2 * side_for(large, 10**9)
    outputs_bytes = 4 * 64 * 9  # per pixel, of the layer before the pixels are shuffled
    side = side_for(large, 10**9) + 2 * (large.reach or 0)
    assert side**2 * outputs_bytes * 4 <= 10**9
    assert side_for(large, 1) == 32
