"""Scores and losses of large images: the same in strips and tiles as at once."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from ddp.vsr import perceptual, strips
from ddp.vsr.image_quality import score
from ddp.vsr.losses import HybridLoss
from ddp.vsr.perceptual import VGG16_TAPS, PerceptualFeatures, build_perceptual, vgg16_layers
from ddp.vsr.strips import mean_over_rows


def pair(height: int, width: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    target = torch.rand(1, 3, height, width, generator=random)
    return (target + 0.1 * torch.randn(target.shape, generator=random)), target


def test_a_mean_over_rows_counts_every_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.arange(10.0)
    monkeypatch.setattr(strips, "STRIP_PIXELS", 30)
    asked: list[tuple[int, int]] = []

    def mean_of(first: int, end: int) -> Tensor:
        asked.append((first, end))
        return rows[first:end].mean()

    assert mean_over_rows(10, 10, mean_of) == pytest.approx(4.5)
    assert asked == [(0, 3), (3, 6), (6, 9), (9, 10)]


@torch.no_grad()
@pytest.mark.parametrize("height", [97, 98])
def test_scores_and_losses_in_strips_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch, height: int) -> None:
    output, target = pair(height, 75)
    whole, terms = score(output, target), HybridLoss()(output, target)
    monkeypatch.setattr(strips, "STRIP_PIXELS", 75 * 20)

    for name, value in score(output, target)._asdict().items():
        assert value.item() == pytest.approx(getattr(whole, name).item(), abs=1e-12), name
    torch.testing.assert_close(HybridLoss()(output, target), terms, rtol=1e-6, atol=0)


def test_a_training_step_is_never_parted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its result would then depend on the batch size in another way than before."""
    output, target = pair(64, 64)
    whole = HybridLoss()(output, target)
    monkeypatch.setattr(strips, "STRIP_PIXELS", 64)

    assert torch.equal(HybridLoss()(output, target), whole)


def backbones() -> list[PerceptualFeatures]:
    torch.manual_seed(0)
    layers = vgg16_layers()
    stages: list[torch.nn.Module] = [layers[start:end] for start, end in pairwise((0, *VGG16_TAPS))]
    found = build_perceptual(None)
    return [PerceptualFeatures("VGG16", stages, (1.0,) * 4, 8, 56), *([found] if found else [])]


@torch.no_grad()
def test_the_perceptual_term_in_tiles_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    output, target = pair(561, 643)
    for backbone in backbones():
        whole = backbone(output, target)
        with monkeypatch.context() as patch:
            patch.setattr(perceptual, "TILE_SIDE", 128)
            assert backbone(output, target).item() == pytest.approx(whole.item(), rel=1e-6), backbone.name
            near = backbone.smallest_side  # less than its reach
            nearsighted = PerceptualFeatures(backbone.name, [*backbone.stages], backbone.scales, near, reach=near)
            assert nearsighted(output, target).item() != pytest.approx(whole.item(), rel=1e-6), backbone.name
