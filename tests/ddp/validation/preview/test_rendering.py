"""Rendering a clip: what the network makes of each window, and nothing else changed."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ddp.validation.image_scores import Networks
from ddp.validation.preview.clip_part import ClipPart
from ddp.validation.preview.rendering import MAX_WHOLE_PIXELS, Renderer
from ddp.validation.tiles import ImageForward
from ddp.workload import UnreadableImageError, Workload
from service.errors import UserError

CPU = torch.device("cpu")


class MeanOfFrames(nn.Module):
    """Doubles the size of the mean of all frames; draws random numbers, and drops pixels while training."""

    def forward(self, lr: Tensor) -> Tensor:
        torch.rand(1)
        if lr.shape[-1] == 7:
            raise RuntimeError("sides must be even")
        if lr.shape[-1] == 9:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        mean = nn.functional.dropout(lr.mean(dim=1), 0.5, self.training)
        return nn.functional.interpolate(mean, scale_factor=2.0, mode="nearest")


class Images:
    names = ("broken.png", "bikes.png")

    def read(self, index: int) -> tuple[Tensor, Tensor]:
        if index == 0:
            raise UnreadableImageError("broken.png: it is cut off")
        levels = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1)
        return levels.expand(5, 3, 4, 6), torch.full((3, 8, 12), 9, dtype=torch.uint8)


class Doubling(Workload):
    validation_images = Images()

    def __init__(self) -> None: ...

    def enlarge(self, lr: Tensor) -> Tensor:
        return nn.functional.interpolate(lr[:, 2], scale_factor=2.0, mode="nearest")


@pytest.fixture
def network() -> nn.Module:
    return MeanOfFrames().train()


def renderer_of(network: nn.Module, reach: int | None = 1) -> Renderer:
    forward = ImageForward(4 if reach is not None else 0, reach)
    return Renderer(CPU, Doubling(), Networks(network, None, nn.Identity(), forward))


def part_of(width: int) -> ClipPart:
    levels = np.arange(10, 90, 10, dtype=np.uint8)[:, None, None, None]
    return ClipPart(np.broadcast_to(levels, (8, 6, width, 3)), 0, (3, 5), ((0, 4), (4, 8)), 25.0)


def test_every_frame_is_rendered_beside_its_enlargement_from_the_frames_of_its_scene(network: nn.Module) -> None:
    before = torch.get_rng_state()

    pictures = renderer_of(network).render_part(part_of(8), lambda: None)

    assert [picture.shape for picture in pictures] == [(3, 12, 32)] * 2
    assert [int(picture[0, 0, 0]) for picture in pictures] == [40, 50]
    # frames 1, 2, 3, 3, 3 around frame 3, which ends its scene; 4, 4, 4, 5, 6 around frame 4, which begins one
    assert [int(picture[0, 0, -1]) for picture in pictures] == [(20 + 30 + 3 * 40) // 5, (3 * 50 + 60 + 70) // 5]
    assert network.training
    assert torch.equal(torch.get_rng_state(), before)


def test_a_validation_image_is_rendered_with_its_truth(network: nn.Module) -> None:
    (picture,) = renderer_of(network).render_image(1, lambda: None)

    assert picture.shape == (3, 8, 36)
    assert [int(picture[1, 5, column]) for column in (0, 12, 24)] == [2, 2, 9]
    with pytest.raises(UserError, match=r"cannot be read: broken\.png: it is cut off"):
        renderer_of(network).render_image(0, lambda: None)


@pytest.mark.parametrize(
    ("width", "sentence"), [(7, "cannot be applied to this clip: sides must be even"), (9, "not enough memory")]
)
def test_what_a_network_cannot_do_is_an_answer_and_leaves_it_training(
    network: nn.Module, width: int, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        renderer_of(network, reach=None).render_part(part_of(width), lambda: None)

    assert network.training


def test_frames_may_be_the_larger_the_fewer_there_are(network: nn.Module) -> None:
    assert renderer_of(network).max_pixels(1) == 32 * 2**20 // 4
    assert renderer_of(network).max_pixels(48) == 32 * 2**20 // (4 * 48)
    assert renderer_of(network, reach=None).max_pixels(1) == MAX_WHOLE_PIXELS


def test_what_ends_the_wait_ends_the_rendering(network: nn.Module) -> None:
    def leave() -> None:
        raise UserError("asked to leave")

    with pytest.raises(UserError, match="asked to leave"):
        renderer_of(network).render_part(part_of(8), leave)
    assert network.training
