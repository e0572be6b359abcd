"""The network's sizes, its order of computation and its start."""

import copy

import pytest
import torch
from torch import Tensor, nn

from ddp.vsr.networks.recurrent import VSR, enlarge_centre, tracked_layers
from service.errors import UserError

# (n_feats, n_blocks) -> million parameters of the single-GPU original at scale 3
KNOWN_SIZES = [
    (64, 20, 1.838),
    (64, 24, 2.133),
    (64, 26, 2.281),
    (72, 26, 2.886),
    (80, 26, 3.562),
    (96, 24, 4.794),
    (128, 32, 10.879),
    (128, 36, 12.060),
    (160, 32, 16.994),
    (192, 32, 24.466),
]


def frames(batch: int = 2, n_frames: int = 5, height: int = 6, width: int = 7) -> Tensor:
    return torch.rand(batch, n_frames, 3, height, width, generator=torch.Generator().manual_seed(0))


def awake(model: VSR) -> VSR:
    """The same network with its last convolution as random as the others."""
    last = model.upsample[2]
    assert isinstance(last, nn.Conv2d)
    last.reset_parameters()
    return model


@pytest.mark.parametrize(("n_feats", "n_blocks", "millions"), KNOWN_SIZES)
def test_it_has_as_many_parameters_as_the_original(n_feats: int, n_blocks: int, millions: float) -> None:
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in VSR(n_feats, n_blocks).parameters())

    assert round(count / 1e6, 3) == millions


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("n_frames", [5, 7])
def test_an_untrained_network_gives_exactly_the_bilinear_picture(n_frames: int, scale: int) -> None:
    lr = frames(n_frames=n_frames)
    output = VSR(8, 2, n_frames, scale)(lr)

    assert output.shape == (2, 3, scale * 6, scale * 7)
    assert torch.equal(output, enlarge_centre(lr, scale))


def test_the_second_step_moves_every_layer() -> None:
    torch.manual_seed(0)
    model = VSR(8, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    target = torch.rand(2, 3, 18, 21)
    for _ in range(2):
        optimizer.zero_grad()
        (model(frames()) - target).abs().mean().backward()
        optimizer.step()

    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_the_output_is_computed_from_the_centre_outwards() -> None:
    """Written out by hand for five frames, without the model's own loops."""
    torch.manual_seed(0)
    model = awake(VSR(8, 4))
    lr = frames()

    def join(trunk: nn.Module, fuse: nn.Module, state: Tensor, frame: Tensor) -> Tensor:
        return trunk(fuse(torch.cat([state, frame], 1)))

    f0, f1, f2, f3, f4 = (model.feat_extract(lr[:, i]) for i in range(5))
    later = join(model.backward_trunk, model.backward_fuse, f2, f3)
    later = join(model.backward_trunk, model.backward_fuse, later, f4)
    earlier = join(model.forward_trunk, model.forward_fuse, f2, f1)
    earlier = join(model.forward_trunk, model.forward_fuse, earlier, f0)
    expected = model.upsample(model.fusion(torch.cat([later, earlier], 1))) + enlarge_centre(lr, 3)

    torch.testing.assert_close(model(lr), expected)


def test_a_block_adds_two_convolutions_to_its_input() -> None:
    block = VSR(4, 2).forward_trunk[0]
    assert isinstance(block, nn.Module)
    first, second = block.get_submodule("conv1"), block.get_submodule("conv2")
    x = torch.randn(1, 4, 5, 5)
    inner = first(x)
    expected = x + second(torch.where(inner > 0, inner, 0.1 * inner))

    torch.testing.assert_close(block(x), expected)


def test_the_enlarged_picture_is_the_centre_frame_between_pixel_centres() -> None:
    lr = torch.zeros(1, 5, 3, 1, 2)
    lr[:, 2, :, 0, 1] = 1.0

    torch.testing.assert_close(enlarge_centre(lr, 2)[0, 0, 0], torch.tensor([0.0, 0.25, 0.75, 1.0]))


def test_recomputing_activations_changes_neither_output_nor_gradient() -> None:
    torch.manual_seed(0)
    plain = awake(VSR(8, 4))
    saving = VSR(8, 4, activation_checkpointing=True)
    saving.load_state_dict(copy.deepcopy(plain.state_dict()))
    for model in (plain, saving):
        model(frames()).square().mean().backward()

    for kept, recomputed in zip(plain.parameters(), saving.parameters(), strict=True):
        assert kept.grad is not None
        assert recomputed.grad is not None
        assert torch.equal(kept.grad, recomputed.grad)


def test_the_layers_are_named_in_the_order_of_the_record() -> None:
    model = VSR(4, 5)
    names = ["Backward_Block_01", "Backward_Block_02", "Backward_Fuse"]
    names += ["Forward_Block_01", "Forward_Block_02", "Forward_Fuse", "Final_Fusion"]
    layers = tracked_layers(model)

    assert list(layers) == names
    assert layers["Backward_Block_02"] is model.backward_trunk[1]
    assert layers["Final_Fusion"] is model.fusion
    assert len(set(layers.values())) == len(names)


def test_under_bf16_autocast_the_untrained_picture_keeps_its_precision() -> None:
    lr = frames()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = VSR(8, 2)(lr)

    assert output.dtype == torch.float32
    assert torch.equal(output, enlarge_centre(lr, 3))


@pytest.mark.parametrize(
    ("sizes", "named"),
    [
        ((0, 2, 5, 3), "N_FEATS is 0"),
        ((4, 0, 5, 3), "N_BLOCKS is 0"),
        ((4, 2, 4, 3), "4 frames"),
        ((4, 2, 5, 5), "of 5"),
    ],
)
def test_impossible_sizes_are_named(sizes: tuple[int, int, int, int], named: str) -> None:
    with pytest.raises(UserError, match=named):
        VSR(*sizes)


def test_a_stack_of_the_wrong_length_is_named() -> None:
    with pytest.raises(UserError, match=r"built for 7 frames.* got \(2, 5, 3, 6, 7\)"):
        VSR(4, 2, n_frames=7)(frames())
