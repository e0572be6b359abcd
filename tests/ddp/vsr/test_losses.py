"""Every term of the loss against plain numpy, and what its gradient does."""

import copy

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddp.vsr.losses import HybridLoss
from ddp.vsr.perceptual import PerceptualFeatures, build_perceptual
from service.loss_terms import LOSS_TERMS, TERM_COUNT


@pytest.fixture(scope="module")
def perceptual() -> PerceptualFeatures:
    features = build_perceptual(None)
    if features is None:
        pytest.skip("the packages with EfficientNet-Lite0 are not installed")
    return features


def images(height: int = 12, width: int = 15, seed: int = 0) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed))


def pooled(image: NDArray[np.float64]) -> NDArray[np.float64]:
    height, width = image.shape[2] // 2 * 2, image.shape[3] // 2 * 2
    image = image[:, :, :height, :width]
    return (image[:, :, ::2, ::2] + image[:, :, 1::2, ::2] + image[:, :, ::2, 1::2] + image[:, :, 1::2, 1::2]) / 4


def edges(image: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    return np.abs(np.diff(image, axis=axis))


@pytest.mark.parametrize(("height", "width"), [(12, 16), (13, 15)])
def test_the_terms_are_the_formulas_written_in_numpy(height: int, width: int) -> None:
    output, target = images(height, width), images(height, width, seed=1)
    p, t = output.double().numpy(), target.double().numpy()
    across = np.abs(edges(p, 3) - edges(t, 3)).mean()
    down = np.abs(edges(p, 2) - edges(t, 2)).mean()
    expected = [np.abs(p - t).mean(), np.abs(pooled(p) - pooled(t)).mean(), (across + down) / 2, 0.0]

    assert [term.label for term in LOSS_TERMS] == ["l1", "ms", "gradient", "perceptual"]
    assert HybridLoss()(output, target).tolist() == pytest.approx(expected, rel=1e-5)


def test_a_perfect_output_has_no_loss(perceptual: PerceptualFeatures) -> None:
    target = images(32, 32)

    assert HybridLoss(perceptual)(target, target).tolist() == [0.0, 0.0, 0.0, 0.0]


def test_the_perceptual_term_is_the_distance_of_its_backbone(perceptual: PerceptualFeatures) -> None:
    output, target = images(32, 32), images(32, 32, seed=1)

    assert HybridLoss(perceptual)(output, target)[3].item() == perceptual(output, target).item() > 0


def test_the_direction_of_an_edge_does_not_count_but_its_strength_does() -> None:
    edge = torch.zeros(1, 3, 4, 4)
    edge[..., 2:] = 1.0

    assert HybridLoss()(1.0 - edge, edge)[2].item() == 0.0
    assert HybridLoss()(0.5 * edge, edge)[2].item() == pytest.approx(0.5 * 0.5 / 3)


@pytest.mark.parametrize("term", range(TERM_COUNT), ids=[term.label for term in LOSS_TERMS])
def test_following_the_gradient_of_a_term_lowers_it(term: int, perceptual: PerceptualFeatures) -> None:
    """The slope that autograd reports is the one found by trying: no term is disconnected, random or upside down."""
    loss = HybridLoss(copy.deepcopy(perceptual)).double()
    target = images(32, 32).double()
    output = (0.8 * target + 0.2 * images(32, 32, seed=1)).requires_grad_()
    before = loss(output, target)[term]
    (slope,) = torch.autograd.grad(before, output)
    step = 1e-4 * slope / slope.norm()
    after = loss((output - step).detach(), target)[term]

    assert (slope != 0).double().mean() > 0.5
    assert (before - after).item() == pytest.approx(1e-4 * slope.norm().item(), rel=0.1)


def test_under_autocast_the_terms_are_the_float32_terms(perceptual: PerceptualFeatures) -> None:
    loss = HybridLoss(perceptual)
    output, target = images(32, 32).bfloat16(), images(32, 32, seed=1)
    alone = loss(output.float(), target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = loss(output, target)

    assert cast.dtype == torch.float32
    assert torch.equal(alone, cast)


def test_the_gradient_comes_back_in_the_type_of_the_output() -> None:
    output = images().bfloat16().requires_grad_()
    HybridLoss()(output, images(seed=1)).sum().backward()

    assert output.grad is not None
    assert output.grad.dtype == torch.bfloat16


def test_the_loss_has_nothing_for_an_optimizer(perceptual: PerceptualFeatures) -> None:
    assert not [name for name, parameter in HybridLoss(perceptual).named_parameters() if parameter.requires_grad]
