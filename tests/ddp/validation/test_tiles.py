"""Tiles of a validation image: joined they are the whole, and memory decides on their size."""

import math

import pytest
import torch
from torch import Tensor, nn

from ddp.validation.tiles import AUTOMATIC_TILES, ImageForward
from ddp.vsr.networks.recurrent import VSR, reach_for

SHORTAGE = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 7372800000 bytes."


def awake(n_blocks: int = 4, n_frames: int = 5, scale: int = 3) -> VSR:
    """A network whose last layer is not zero any more."""
    torch.manual_seed(0)
    model = VSR(8, n_blocks, n_frames, scale).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def pair(height: int, width: int, n_frames: int = 5, scale: int = 3) -> tuple[Tensor, Tensor]:
    lr = torch.rand(1, n_frames, 3, height, width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return lr, torch.empty(1, 3, scale * height, scale * width, dtype=torch.float64)


class Limited(nn.Module):
    """Runs out of memory above a number of LR pixels, and counts what it is given."""

    def __init__(self, network: nn.Module, most: float) -> None:
        super().__init__()
        self.network, self.most = network, most
        self.seen: list[tuple[int, int]] = []

    def forward(self, lr: Tensor) -> Tensor:
        height, width = lr.shape[-2:]
        self.seen.append((height, width))
        if height * width > self.most:
            raise RuntimeError(SHORTAGE)
        output: Tensor = self.network(lr)
        return output


@torch.no_grad()
@pytest.mark.parametrize(("n_blocks", "n_frames", "scale"), [(2, 5, 2), (4, 5, 3), (4, 7, 4)])
@pytest.mark.parametrize("side", [7, 16, 40])
def test_tiles_joined_are_the_whole_to_rounding_everywhere(n_blocks: int, n_frames: int, scale: int, side: int) -> None:
    network = awake(n_blocks, n_frames, scale)
    lr, target = pair(45, 61, n_frames, scale)
    tiled = ImageForward(side, reach_for(n_blocks, n_frames)).run(network, lr, target, lambda: None)

    torch.testing.assert_close(tiled, network(lr), rtol=0, atol=1e-12)


@torch.no_grad()
def test_a_margin_of_less_than_the_reach_would_be_seen() -> None:
    network = awake()
    lr, target = pair(45, 61)
    tiled = ImageForward(16, reach_for(4, 5) - 3).run(network, lr, target, lambda: None)

    assert (tiled - network(lr)).abs().max() > 1e-9


@torch.no_grad()
def test_the_whole_image_is_taken_where_it_fits_and_smaller_tiles_until_one_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    network = awake(2, 5, 2)
    lr, target = pair(300, 600, scale=2)
    whole = Limited(network, math.inf)
    expected = ImageForward(0, reach_for(2, 5)).run(whole, lr, target, lambda: None)
    assert whole.seen == [(300, 600)]
    assert caplog.text == ""

    forward, tiles = ImageForward(0, reach_for(2, 5)), list[None]()
    small = Limited(network, 50_000)
    torch.testing.assert_close(forward.run(small, lr, target, lambda: tiles.append(None)), expected, rtol=0, atol=1e-12)
    assert small.seen[:4] == [(300, 600), (300, 520), (264, 264), (136, 136)]  # margins are even
    assert "of 600x300 LR pixels does not fit into memory as a whole, but in tiles of 128" in caplog.text
    assert len(tiles) == 1 + 1 + 3 * 5

    small.seen.clear()
    caplog.clear()
    forward.run(small, lr, target, lambda: None)
    assert small.seen[0] == (136, 136)  # what failed is not tried again
    assert caplog.text == ""
    forward.run(small, *pair(90, 90, scale=2), lambda: None)
    assert small.seen[-1] == (90, 90)  # smaller images are still taken whole


@torch.no_grad()
def test_where_no_tile_fits_it_is_a_lack_of_memory_and_other_errors_stay_what_they_are() -> None:
    lr, target = pair(300, 600)
    nothing = Limited(awake(), 0)
    with pytest.raises(MemoryError):
        ImageForward(0, 11).run(nothing, lr, target, lambda: None)
    assert len(nothing.seen) == 1 + sum(side < 600 for side in AUTOMATIC_TILES)

    with pytest.raises(MemoryError):
        ImageForward(0, None).run(Limited(awake(), 0), lr, target, lambda: None)
    with pytest.raises(RuntimeError, match="dtype"):
        ImageForward(0, 11).run(nn.Linear(3, 3), lr, target, lambda: None)
