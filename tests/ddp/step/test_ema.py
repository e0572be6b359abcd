"""EMA weights: the published recurrence, and nothing of a skipped step."""

import torch
from torch import nn

from ddp.step.ema import EmaModel


def test_the_average_is_the_exponential_mean_of_the_weights() -> None:
    model = nn.Linear(2, 1)
    average = EmaModel(model, 0.9)
    expected = model.weight.detach().clone().double()
    for _ in range(20):
        with torch.no_grad():
            model.weight.add_(torch.randn(1, 2))
        average.update(torch.zeros(()))
        expected = 0.9 * expected + 0.1 * model.weight.detach().double()

    torch.testing.assert_close(average.model.weight.double(), expected, rtol=1e-5, atol=1e-6)
    assert not any(parameter.requires_grad for parameter in average.model.parameters())


def test_a_skipped_step_leaves_the_average_alone() -> None:
    model = nn.Linear(2, 1)
    average = EmaModel(model, 0.5)
    before = average.model.weight.clone()
    with torch.no_grad():
        model.weight.add_(1.0)

    average.update(torch.ones(()))

    assert torch.equal(average.model.weight, before)
