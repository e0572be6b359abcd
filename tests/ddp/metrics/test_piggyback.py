"""The passenger of the gradients: what it carries arrives as a mean, and the network's own gradients are left alone."""

import pytest
import torch
from torch import nn

from ddp.metrics.piggyback import PiggybackModule

CPU = torch.device("cpu")


def test_what_is_carried_arrives_as_the_mean_over_micro_batches_and_leaves_the_gradients_alone() -> None:
    torch.manual_seed(0)
    network = nn.Linear(3, 1)
    twin = nn.Linear(3, 1)
    twin.load_state_dict(network.state_dict())
    both = PiggybackModule(network, 2, CPU)
    for number in (1.0, 4.0):
        x = torch.randn(5, 3)
        ((both(x).square().mean() + both.attach(torch.tensor([number, -number]))) / 2).backward()
        (twin(x).square().mean() / 2).backward()

    assert both.reduced().tolist() == [2.5, -2.5]
    assert torch.equal(network.weight.grad, twin.weight.grad)  # type: ignore[arg-type]


def test_a_number_that_is_not_finite_is_delivered_as_such() -> None:
    both = PiggybackModule(nn.Linear(1, 1), 2, CPU)
    both.attach(torch.tensor([float("inf"), 1.0])).backward()

    assert both.reduced().tolist() == [float("inf"), 1.0]


def test_nothing_carried_is_a_defect_of_the_caller() -> None:
    with pytest.raises(AssertionError, match="nothing was carried"):
        PiggybackModule(nn.Linear(1, 1), 1, CPU).reduced()
