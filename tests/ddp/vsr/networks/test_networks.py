"""The networks without recurrence: how they begin, what they depend on, and what is said of them."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ddp.validation.layer_activity import ActivityProbe
from ddp.validation.tiles import ImageForward
from ddp.vsr.networks.choice import build, fusion_of, layers_of, settings_in
from ddp.vsr.prepare.resize import imresize
from ddp.vsr.workload import build_network
from service.config.settings import RunConfig
from tests.ddp.vsr.networks.alignment_reference import waves

SMALL: dict[str, Any] = {"n_feats": 8, "n_blocks": 2}
NETWORKS = ("recurrent", "single", "aligned")
PLAIN = ("single", "aligned")


def config(network: str, **others: Any) -> RunConfig:
    return RunConfig(network=network, **{**SMALL, **others})


def frames(batch: int = 2, n_frames: int = 5, height: int = 14, width: int = 17) -> Tensor:
    return torch.rand(batch, n_frames, 3, height, width, generator=torch.Generator().manual_seed(0))


def moving(height: int, width: int, n_frames: int = 5) -> Tensor:
    """Return (1, T, 3, h, w) float64 of a picture that moves by a part of a pixel a frame."""
    planes = [waves(height, width, 0.35 * i, -0.2 * i) for i in range(n_frames)]
    return torch.from_numpy(np.stack(planes))[None, :, None].expand(1, n_frames, 3, height, width).contiguous()


def awake(network: str, **others: Any) -> nn.Module:
    """A network whose last layer is not zero any more."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = build(config(network, **others)).module
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.1)
    return module


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("network", PLAIN)
def test_an_untrained_network_gives_the_bicubic_picture_of_the_centre(network: str, scale: int) -> None:
    lr = frames()
    output = build(config(network, scale=scale)).module(lr)
    centre = lr[0, 2].permute(1, 2, 0).double().numpy()
    expected = imresize(centre, scale * 14, scale * 17)

    inside = slice(2 * scale, -2 * scale)
    assert output.shape == (2, 3, scale * 14, scale * 17)
    found = output[0].permute(1, 2, 0).detach().numpy()
    np.testing.assert_allclose(found[inside, inside], expected[inside, inside], rtol=0, atol=1e-5)


@pytest.mark.parametrize("network", PLAIN)
def test_the_second_step_moves_every_layer(network: str) -> None:
    torch.manual_seed(0)
    module = build(config(network)).module
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    target = torch.rand(2, 3, 42, 51)
    for _ in range(2):
        optimizer.zero_grad()
        (module(frames()) - target).abs().mean().backward()
        optimizer.step()

    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_the_control_sees_the_centre_alone_and_the_aligned_network_all_frames() -> None:
    lr = moving(20, 22).float()
    for network in PLAIN:
        module = awake(network)
        before = module(lr)
        for frame in (0, 1, 3, 4):
            other = lr.clone()
            other[:, frame] = lr[:, frame].roll(1, dims=-1)
            assert torch.equal(module(other), before) == (network == "single")


@pytest.mark.parametrize("n_frames", [1, 2, 3, 7])
def test_any_number_of_frames_is_taken(n_frames: int) -> None:
    for network in PLAIN:
        assert awake(network)(frames(1, n_frames, 5, 4)).shape == (1, 3, 15, 12)


@torch.no_grad()
@pytest.mark.parametrize("network", PLAIN)
def test_a_picture_does_not_depend_on_the_others_of_its_batch(network: str) -> None:
    module, lr = awake(network).double(), frames().double()

    torch.testing.assert_close(module(lr)[1:], module(lr[1:]), rtol=0, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("network", PLAIN)
def test_under_bf16_autocast_the_base_and_the_evidence_keep_their_precision(network: str) -> None:
    lr = moving(20, 22).float()
    untrained = build(config(network)).module
    expected = untrained(lr)
    with torch.autocast("cpu", torch.bfloat16):
        output = untrained(lr)

    assert output.dtype == torch.float32
    assert torch.equal(output, expected)


@torch.no_grad()
@pytest.mark.parametrize("side", [60, 33])
@pytest.mark.parametrize("network", PLAIN)
def test_tiles_with_the_margin_that_it_says_are_the_whole_picture(network: str, side: int) -> None:
    built = build(config(network))
    module = awake(network).double()
    lr = moving(12, 201)
    target = torch.empty(1, 3, 36, 603, dtype=torch.float64)
    tiled = ImageForward(side, built.reach).run(module, lr, target, lambda: None)

    torch.testing.assert_close(tiled, module(lr), rtol=0, atol=1e-9)


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_says_which_one_it_is(network: str) -> None:
    module = build(config(network, scale=2)).module

    assert settings_in(module.state_dict()) == {"network": network, **SMALL, "scale": 2}


def test_weights_of_something_else_say_nothing() -> None:
    assert settings_in({"linear.weight": torch.zeros(3, 3)}) == {}
    assert settings_in({"trunk.join.weight": torch.zeros(3), "trunk.enlarge.weight": torch.zeros(3)}) == {}


def test_nothing_but_the_weights_to_train_is_in_a_checkpoint() -> None:
    for network in PLAIN:
        module = build(config(network)).module
        assert set(module.state_dict()) == {name for name, _ in module.named_parameters()}


@torch.no_grad()
@pytest.mark.parametrize("network", NETWORKS)
def test_the_activity_of_every_layer_is_reported(network: str) -> None:
    module = awake(network)
    with ActivityProbe(layers_of(module)) as probe:
        module(frames())

    assert probe.calls().min() >= 1
    assert probe.sums().min() > 0


def test_the_layers_are_named_in_the_order_of_the_record() -> None:
    for network in PLAIN:
        assert list(layers_of(awake(network))) == ["Join", "Block_01", "Block_02", "Enlarge"]


def test_the_layer_with_a_rate_of_its_own_is_the_one_that_joins_the_frames() -> None:
    aligned = awake("aligned")

    assert fusion_of(awake("single")) is None
    assert fusion_of(aligned) is aligned.get_submodule("trunk.join")
    assert fusion_of(awake("recurrent")) is not None


def test_the_degradation_of_the_settings_is_the_one_that_is_undone() -> None:
    lr = moving(20, 22).float()
    bicubic, blurred = (build_network(config("aligned", degradation=name)).module for name in ("bicubic", "blur-down"))

    assert not torch.allclose(bicubic(lr), blurred(lr), atol=1e-3)


def test_recomputing_activations_changes_neither_output_nor_gradient() -> None:
    plain, saving = awake("aligned"), awake("aligned", activation_checkpointing=True)
    for module in (plain, saving):
        module(frames()).square().mean().backward()

    for kept, recomputed in zip(plain.parameters(), saving.parameters(), strict=True):
        assert kept.grad is not None
        assert recomputed.grad is not None
        assert torch.equal(kept.grad, recomputed.grad)
