"""The alignment's parts, each against its formula in NumPy and SciPy, in float64."""

import numpy as np
import pytest
import torch
from torch import Tensor

from ddp.vsr.networks.alignment import sampling
from ddp.vsr.networks.alignment.back_projection import BackProjection
from ddp.vsr.networks.alignment.degradation import degradation_of
from ddp.vsr.networks.alignment.enlarging import BicubicEnlarging, Blurring
from ddp.vsr.networks.alignment.flow import confidence_of, flow_between, inverse_of
from ddp.vsr.prepare.resize import DEGRADATIONS, imresize
from tests.ddp.vsr.networks.alignment_reference import Plane, box_mean, confidence, sampled, waves

KINDS = [(name, scale) for name in ("bicubic", "blur-down") for scale in (2, 3, 4)]


def tensor(plane: Plane) -> Tensor:
    return torch.from_numpy(plane)[None, None]


def plane_of(image: Tensor) -> Plane:
    plane: Plane = image[0, 0].numpy()
    return plane


@pytest.mark.parametrize(("name", "scale"), KINDS)
def test_the_kernel_is_what_makes_the_low_resolution_of_the_patch_set(name: str, scale: int) -> None:
    picture = np.random.default_rng(0).random((24 * scale, 20 * scale))
    blurred = plane_of(Blurring(degradation_of(name, scale))(tensor(picture)))[::scale, ::scale]
    expected = DEGRADATIONS[name](picture, scale)

    np.testing.assert_allclose(blurred[4:-4, 4:-4], expected[4:-4, 4:-4], rtol=0, atol=1e-7)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_enlargement_is_bicubic_as_in_the_field(scale: int) -> None:
    image = np.random.default_rng(0).random((12, 9))
    enlarged = plane_of(BicubicEnlarging(degradation_of("bicubic", scale)).double()(tensor(image)))
    expected = imresize(image, 12 * scale, 9 * scale)

    inside = slice(2 * scale, -2 * scale)
    np.testing.assert_allclose(enlarged[inside, inside], expected[inside, inside], rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_what_blur_down_has_taken_is_enlarged_to_where_it_was(scale: int) -> None:
    """A slope stays itself: LR pixel u has the value of GT pixel s·u."""
    slope = np.tile(np.arange(10.0), (8, 1))
    enlarged = plane_of(BicubicEnlarging(degradation_of("blur-down", scale)).double()(tensor(slope)))

    wanted = np.arange(10 * scale) / scale
    np.testing.assert_allclose(enlarged[0, 2 * scale : -3 * scale], wanted[2 * scale : -3 * scale], rtol=0, atol=1e-6)


@pytest.mark.parametrize("side", [3, 5, 11])
def test_both_ways_of_taking_the_mean_of_a_window_are_scipys(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).random((13, 17))
    expected = box_mean(image, side)

    np.testing.assert_allclose(plane_of(sampling.box(tensor(image), side)), expected, rtol=0, atol=1e-12)
    monkeypatch.setattr(sampling, "prefers_shifts", lambda _: False)
    np.testing.assert_allclose(plane_of(sampling.box(tensor(image), side)), expected, rtol=0, atol=1e-12)


def test_both_ways_of_blurring_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    blurring, picture = Blurring(degradation_of("bicubic", 3)), torch.rand(2, 1, 20, 16, dtype=torch.float64)
    shifted = blurring(picture)
    monkeypatch.setattr("ddp.vsr.networks.alignment.enlarging.prefers_shifts", lambda _: False)

    torch.testing.assert_close(blurring(picture), shifted, rtol=0, atol=1e-12)


def test_an_image_is_sampled_between_its_pixels_and_beyond_its_edge() -> None:
    random = np.random.default_rng(0)
    image, x, y = random.random((7, 9)), random.uniform(-2, 10, (5, 6)), random.uniform(-2, 8, (5, 6))
    places = torch.from_numpy(np.stack([x, y]))[None]

    np.testing.assert_allclose(
        plane_of(sampling.sample_at(tensor(image), places)), sampled(image, x, y), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.3, -0.2), (-0.7, 0.45), (1.4, 0.9)])
def test_a_known_shift_is_found_to_a_small_part_of_a_pixel(shift: tuple[float, float]) -> None:
    fixed, moved = (tensor(waves(48, 56, *by)) for by in ((0.0, 0.0), shift))
    flow = flow_between(fixed, moved)[0, :, 8:-8, 8:-8]

    off = torch.hypot(flow[0] - shift[0], flow[1] - shift[1])
    assert float(off.median()) < 0.05
    assert float(off.quantile(0.9)) < 0.2


def test_a_flow_there_and_back_ends_where_it_began() -> None:
    y, x = np.mgrid[:40, :40] / 40
    flow = torch.from_numpy(np.stack([1.5 + 0.4 * np.sin(3 * y), -0.8 + 0.5 * x]))[None]
    back = inverse_of(flow)
    there = sampling.sample_at(flow, sampling.positions(back))

    assert float((there + back)[..., 4:-4, 4:-4].abs().max()) < 0.02


def test_confidence_is_the_formula_and_falls_where_a_neighbour_shows_something_else() -> None:
    fixed = waves(30, 34)
    other = fixed + 0.002 * np.random.default_rng(1).standard_normal(fixed.shape)
    other[10:20, 12:24] = waves(30, 34, seed=5)[10:20, 12:24]
    found = plane_of(confidence_of(tensor(fixed), tensor(other)))

    np.testing.assert_allclose(found, confidence(fixed, other), rtol=0, atol=1e-12)
    assert found[:8].min() > 0.9
    assert found[12:18, 14:22].mean() < 0.3


@pytest.mark.parametrize(("name", "scale"), KINDS)
def test_of_one_frame_a_step_is_the_step_of_least_squares(name: str, scale: int) -> None:
    """Picture + P (y - D picture): with D as a matrix made of `prepare`'s own degradation, P of its positions."""
    degradation = degradation_of(name, scale)
    observed = np.random.default_rng(0).random((16, 14))
    fused = BackProjection(degradation, steps=1).double()(tensor(observed))
    start = plane_of(fused.enlarged)
    down = [_matrix(name, scale, side) for side in observed.shape]
    back = [_bilinear(degradation.middle, scale, side) for side in observed.shape]
    errors = observed - down[0] @ start @ down[1].T
    expected = start + back[0] @ errors @ back[1].T

    inside = slice(5 * scale, -5 * scale)
    np.testing.assert_allclose(plane_of(fused.estimate)[inside, inside], expected[inside, inside], rtol=0, atol=1e-6)


def _matrix(name: str, scale: int, side: int) -> Plane:
    """Return the degradation of one axis as a matrix (side, scale · side), column by column."""
    columns = np.eye(scale * side)
    padded = np.repeat(columns[:, None, :], 4 * scale, axis=1)  # constant along the other axis
    return np.stack([DEGRADATIONS[name](each.T, scale)[:, 2] for each in padded], axis=1)


def _bilinear(middle: float, scale: int, side: int) -> Plane:
    """Return bilinear interpolation of one axis at the places of the HR pixels, (scale · side, side)."""
    places = np.clip((np.arange(scale * side) - middle) / scale, 0, side - 1)
    return np.maximum(0.0, 1 - np.abs(places[:, None] - np.arange(side)[None]))


def moved_frames(scale: int, shifts: list[tuple[float, float]]) -> tuple[Tensor, Plane]:
    """Return LR luma (1, T, h, w) of a fine picture in several positions (in LR pixels), and the middle one in full."""
    whole = [waves(32 * scale, 36 * scale, dx * scale, dy * scale) for dx, dy in shifts]
    fine = [0.5 + 0.35 * np.sin(2.2 * (plane - 0.5) * 20 / scale) for plane in whole]
    frames = torch.from_numpy(np.stack([DEGRADATIONS["bicubic"](plane, scale) for plane in fine]))[None]
    return frames, fine[len(fine) // 2]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_frames_in_other_positions_bring_detail_that_one_frame_has_not(scale: int) -> None:
    frames, truth = moved_frames(scale, [(0.4, 0.3), (-0.33, 0.2), (0.0, 0.0), (0.25, -0.4), (-0.3, -0.35)])
    fusing = BackProjection(degradation_of("bicubic", scale), steps=8).double()
    several, alone = fusing(frames), fusing(frames[:, 2:3])
    inside = slice(4 * scale, -4 * scale)

    def error(image: Tensor) -> float:
        return float(np.mean((plane_of(image)[inside, inside] - truth[inside, inside]) ** 2))

    assert error(several.estimate) < 0.7 * error(alone.estimate) < 0.7 * error(alone.enlarged)
    assert several.confidence.shape == (1, 4, 32, 36)


def test_a_neighbour_that_shows_something_else_changes_nothing() -> None:
    frames, _ = moved_frames(3, [(0.0, 0.0)] * 3)
    lying = frames.clone()
    lying[:, 0] = 1 - lying[:, 0]
    fusing = BackProjection(degradation_of("bicubic", 3)).double()

    difference = (fusing(lying).estimate - fusing(frames[:, 1:2]).estimate).abs()
    assert float(difference.mean()) < 0.002


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 5, 1, 3), (1, 2, 5, 4), (1, 7, 3, 2)])
def test_any_number_of_frames_and_any_size_is_taken(shape: tuple[int, int, int, int]) -> None:
    fused = BackProjection(degradation_of("bicubic", 3))(torch.rand(shape))

    assert fused.estimate.shape == (shape[0], 1, 3 * shape[2], 3 * shape[3])
    assert fused.confidence.shape == (shape[0], shape[1] - 1, *shape[2:])
    assert bool(torch.isfinite(fused.estimate).all())


@pytest.mark.parametrize("is_compiling", [False, True])
def test_a_torch_that_cannot_tell_an_export_from_compiling_takes_the_layer_in_both(
    monkeypatch: pytest.MonkeyPatch, is_compiling: bool
) -> None:
    """PyTorch 2.6."""
    monkeypatch.delattr(torch.compiler, "is_exporting")
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: is_compiling)

    assert sampling.prefers_shifts(torch.zeros(1)) is not is_compiling
