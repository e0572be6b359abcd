"""The activity of layers against what the layers put out, and the maps made of it."""

import math

import pytest
import torch
from torch import Tensor, nn

from ddp.validation.layer_activity import ActivityProbe, activity_maps
from ddp.vsr.networks.recurrent import VSR, tracked_layers


def hooks_on(layers: dict[str, nn.Module]) -> int:
    return sum(len(layer._forward_hooks) for layer in layers.values())


def test_every_call_adds_the_mean_absolute_output_of_its_layer() -> None:
    layers = {"first": nn.Linear(3, 4), "second": nn.Linear(4, 2)}
    inputs = [torch.randn(5, 3), torch.randn(2, 3)]
    with ActivityProbe(layers) as probe:
        middles = [layers["first"](x) for x in inputs]
        last = layers["second"](middles[0])
    expected = [sum(middle.detach().abs().mean().item() for middle in middles), last.detach().abs().mean().item()]

    assert probe.names == ("first", "second")
    assert probe.calls().tolist() == [2, 1]
    assert probe.sums().dtype == torch.float64
    assert probe.sums().tolist() == pytest.approx(expected)
    assert not probe.sums().requires_grad


@pytest.mark.parametrize("activation_checkpointing", [False, True])
def test_each_trunk_counts_once_per_neighbour_of_the_centre(activation_checkpointing: bool) -> None:
    model = VSR(4, 4, activation_checkpointing=activation_checkpointing)
    layers = tracked_layers(model)
    with ActivityProbe(layers) as probe:
        for _ in range(3):
            model(torch.rand(1, 5, 3, 4, 4)).sum().backward()

    assert probe.calls().tolist() == [6] * (len(layers) - 1) + [3]
    assert (probe.sums() > 0).all()


def test_watching_does_not_change_what_the_network_computes() -> None:
    model = VSR(4, 2)
    lr = torch.rand(1, 5, 3, 4, 4)
    alone = model.fusion(torch.cat([model.feat_extract(lr[0])] * 2, 1))
    with ActivityProbe(tracked_layers(model)):
        watched = model.fusion(torch.cat([model.feat_extract(lr[0])] * 2, 1))

    assert torch.equal(alone, watched)


def test_hooks_are_gone_afterwards_even_after_an_error() -> None:
    layers: dict[str, nn.Module] = {"only": nn.Linear(2, 2)}
    probe = ActivityProbe(layers)

    def fail_while_watching() -> None:
        with probe:
            layers["only"](torch.ones(1, 2))
            assert hooks_on(layers) == 1
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        fail_while_watching()

    assert hooks_on(layers) == 0
    layers["only"](torch.ones(1, 2))
    assert probe.calls().tolist() == [1]


def test_entering_again_starts_from_zero() -> None:
    layer = nn.Linear(2, 2)
    probe = ActivityProbe({"only": layer})
    for _ in range(2):
        with probe:
            layer(torch.ones(1, 2))

    assert probe.calls().tolist() == [1]
    assert probe.sums().item() == pytest.approx(layer(torch.ones(1, 2)).detach().abs().mean().item())


def test_a_low_precision_output_is_averaged_in_float32() -> None:
    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.bfloat16()

    layer = Constant()
    values = torch.cat([torch.ones(1000), torch.full((1,), 2.0)])
    with ActivityProbe({"only": layer}) as probe:
        layer(values)

    assert probe.sums().item() == pytest.approx(1002 / 1001, abs=1e-6)


def test_maps_give_percent_of_the_strongest_layer_raw_values_and_the_peak() -> None:
    percent, raw, peak = activity_maps(["a", "b", "c"], [0.3, 1.2, 0.0])

    assert percent == pytest.approx({"a": 25.0, "b": 100.0, "c": 0.0})
    assert percent["b"] == 100.0
    assert raw == {"a": 0.3, "b": 1.2, "c": 0.0}
    assert list(percent) == list(raw) == ["a", "b", "c"]
    assert peak == 1.2


def test_a_silent_network_has_zeros_and_no_peak() -> None:
    assert activity_maps(["a", "b"], [0.0, 0.0]) == ({"a": 0.0, "b": 0.0}, {"a": 0.0, "b": 0.0}, 0.0)


def test_a_broken_layer_does_not_hide_the_others() -> None:
    percent, raw, peak = activity_maps(["a", "b"], [math.nan, 0.5])

    assert peak == 0.5
    assert percent["b"] == 100.0
    assert math.isnan(percent["a"])
    assert math.isnan(raw["a"])
    assert math.isnan(activity_maps(["a"], [math.nan])[0]["a"])
