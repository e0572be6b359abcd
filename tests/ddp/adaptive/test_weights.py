"""The loss weights: their scale and their bounds."""

import pytest

from ddp.adaptive.weights import Weights, bounded_perceptual, bounded_shares
from service.config.settings import RunConfig


def test_configured_weights_keep_their_proportions_and_sum_to_one() -> None:
    config = RunConfig(l1_weight=0.55, ms_weight=0.2, grad_weight=0.15, perceptual_weight=0.1)

    weights = Weights.configured(config, has_perceptual=True)

    assert weights.values == pytest.approx((0.55, 0.2, 0.15, 0.1))
    assert weights.shares == pytest.approx((0.55 / 0.9, 0.2 / 0.9, 0.15 / 0.9))


def test_weights_that_sum_to_more_than_one_are_scaled_down() -> None:
    config = RunConfig(l1_weight=0.6, ms_weight=0.2, grad_weight=0.2, perceptual_weight=0.25)

    assert Weights.configured(config, has_perceptual=True).values == pytest.approx((0.48, 0.16, 0.16, 0.2))


def test_without_the_term_the_other_three_share_all() -> None:
    config = RunConfig(l1_weight=0.6, ms_weight=0.2, grad_weight=0.2, perceptual_weight=0.25)

    assert Weights.configured(config, has_perceptual=False).values == pytest.approx((0.6, 0.2, 0.2, 0))


def test_values_lead_back_to_the_weights() -> None:
    weights = Weights((0.5, 0.2, 0.3), 0.25)

    assert weights.values == pytest.approx((0.375, 0.15, 0.225, 0.25))
    back = Weights.of_values(weights.values)
    assert back.shares == pytest.approx(weights.shares)
    assert back.perceptual == 0.25


@pytest.mark.parametrize(
    ("wanted", "bounded"),
    [
        ((0.2, 0.3), (0.5, 0.2, 0.3)),
        ((0.0, 0.3), (0.65, 0.05, 0.3)),
        ((0.0, 0.0), (0.9, 0.05, 0.05)),
        ((0.05, 0.95), (0.1, 0.05, 0.85)),
        ((0.45, 0.55), (0.1, 0.05 + 0.4 * 0.8 / 0.9, 0.05 + 0.5 * 0.8 / 0.9)),
    ],
)
def test_shares_keep_their_floors(wanted: tuple[float, float], bounded: tuple[float, float, float]) -> None:
    assert bounded_shares(*wanted) == pytest.approx(bounded)


def test_the_perceptual_weight_keeps_its_bounds() -> None:
    assert [bounded_perceptual(weight, 0.1) for weight in (0.01, 0.1, 0.3)] == [0.05, 0.1, 0.25]
    assert [bounded_perceptual(weight, 0.02) for weight in (0.01, 0.02, 0.03)] == [0.02, 0.02, 0.03]
