"""AdamW without its wrappers: torch's own to the last bit."""

import pytest
import torch
from torch import nn

from ddp.step.adamw import EagerAdamW

Optimizer = torch.optim.AdamW


def groups(network: nn.Sequential) -> list[dict[str, object]]:
    return [{"params": network[0].parameters()}, {"params": network[2].parameters(), "lr": 1e-2}]


def trained(kind: type[Optimizer], *, fused: bool, skipped: int | None = None) -> tuple[nn.Module, Optimizer]:
    """A network after five steps; its optimizer was saved and loaded into a new one after the third."""
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    optimizer = kind(groups(network), lr=1e-3, weight_decay=0.1, fused=fused)
    for step in range(5):
        if step == 3:
            saved = optimizer.state_dict()
            optimizer = kind(groups(network), lr=1e-3, fused=fused)
            optimizer.load_state_dict(saved)
        network(torch.randn(8, 3)).square().mean().backward()
        if fused:
            vars(optimizer).update(found_inf=torch.tensor(float(step == skipped)), grad_scale=None)
        optimizer.step()
        optimizer.zero_grad()
    return network, optimizer


@pytest.mark.parametrize(("fused", "skipped"), [(True, None), (True, 2), (False, None)])
def test_steps_and_saved_states_are_torchs(fused: bool, skipped: int | None) -> None:
    network, optimizer = trained(EagerAdamW, fused=fused, skipped=skipped)
    others_network, other = trained(Optimizer, fused=fused, skipped=skipped)

    torch.testing.assert_close(network.state_dict(), others_network.state_dict(), rtol=0, atol=0)
    state, others_state = optimizer.state_dict(), other.state_dict()
    assert state["param_groups"] == others_state["param_groups"]
    torch.testing.assert_close(state["state"], others_state["state"], rtol=0, atol=0)


def test_a_step_is_no_part_of_the_graph_and_calls_the_hooks_that_torch_offers() -> None:
    weight = nn.Parameter(torch.ones(2))
    optimizer = EagerAdamW([weight], fused=True)
    calls: list[object] = []
    optimizer.register_step_post_hook(lambda *_: calls.append(weight.detach().clone()))
    weight.sum().backward()

    optimizer.step()

    assert weight.grad_fn is None
    assert len(calls) == 1
    assert not torch.equal(weight, torch.ones(2))
