"""Image quality against published values, scikit-image and arithmetic by hand."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from ddp.vsr.image_quality import psnr_db, quality, quantise, score, ssim
from ddp.vsr.prepare.resize import imresize
from service.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[3]
PUBLISHED_IMAGES = REPOSITORY / os.environ.get("LEITSTAND_METRIC_IMAGES", "../shared/data/metrics")
PUBLISHED_SCORES = [  # of a x4 bicubic enlargement, border 4: RGB PSNR, RGB SSIM, Y PSNR, Y SSIM
    ("baboon", 20.419710, 0.391853, 22.441898, 0.453097),
    ("comic", 20.239912, 0.567738, 21.720398, 0.585511),
]


def as_tensor(image: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1).unsqueeze(0) / 255.0


def random_pair(height: int = 24, width: int = 31) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (height, width, 3))
    noisy = np.clip(image + random.integers(-20, 21, image.shape), 0, 255)
    return image.astype(np.uint8), noisy.astype(np.uint8)


def reference_ssim(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(structural_similarity(a, b, data_range=255, channel_axis=2, **wang))


def ssim_of_one_window(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """The textbook formula for a single square window, in centred moments."""
    offset = np.arange(len(x)) - len(x) // 2
    weights = np.exp(-(offset[:, None] ** 2 + offset[None, :] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    mean_x, mean_y = (weights * x).sum(), (weights * y).sum()
    variance_x, variance_y = (weights * (x - mean_x) ** 2).sum(), (weights * (y - mean_y) ** 2).sum()
    covariance = (weights * (x - mean_x) * (y - mean_y)).sum()
    c1, c2 = 2.55**2, 7.65**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return float(luminance * (2 * covariance + c2) / (variance_x + variance_y + c2))


@pytest.mark.parametrize(("name", "psnr_rgb", "ssim_rgb", "psnr_y", "ssim_y"), PUBLISHED_SCORES)
def test_the_published_scores_are_reproduced_to_the_last_digit(
    name: str, psnr_rgb: float, ssim_rgb: float, psnr_y: float, ssim_y: float
) -> None:
    if not PUBLISHED_IMAGES.is_dir():
        pytest.skip(f"no published images in {PUBLISHED_IMAGES}: set LEITSTAND_METRIC_IMAGES")
    gt = np.asarray(Image.open(PUBLISHED_IMAGES / f"{name}_gt.png"))
    lr = np.asarray(Image.open(PUBLISHED_IMAGES / f"{name}_lr_x4.png"))
    enlarged, target = as_tensor(imresize(lr, *gt.shape[:2])), as_tensor(gt)
    scores = score(enlarged, target, border=4)

    assert scores.psnr_db.item() == pytest.approx(psnr_rgb, abs=1e-6)
    assert scores.ssim.item() == pytest.approx(ssim_rgb, abs=1e-6)
    assert scores.psnr_y_db.item() == pytest.approx(psnr_y, abs=1e-6)
    assert scores.ssim_y.item() == pytest.approx(ssim_y, abs=1e-6)


def test_random_images_score_as_in_scikit_image() -> None:
    a, b = random_pair()
    scores = score(as_tensor(a), as_tensor(b))
    luma_a, luma_b = rgb2ycbcr(a)[..., 0], rgb2ycbcr(b)[..., 0]

    assert scores.psnr_db.item() == pytest.approx(peak_signal_noise_ratio(b, a), abs=1e-9)
    assert scores.psnr_y_db.item() == pytest.approx(peak_signal_noise_ratio(luma_b, luma_a, data_range=255), abs=1e-6)
    assert scores.ssim.item() == pytest.approx(reference_ssim(a, b), abs=1e-9)
    assert scores.quality.item() == pytest.approx(
        0.7 * (scores.psnr_db.item() - 20) / 30 + 0.3 * scores.ssim.item(), abs=1e-12
    )


def test_each_image_of_a_batch_is_scored_by_itself() -> None:
    random = torch.Generator().manual_seed(0)
    output, target = torch.rand(3, 3, 16, 20, generator=random), torch.rand(3, 3, 16, 20, generator=random)
    together = score(output, target)
    alone = [score(output[i : i + 1], target[i : i + 1]) for i in range(3)]

    for column, values in enumerate(together):
        assert values.dtype == torch.float64
        torch.testing.assert_close(values, torch.cat([scores[column] for scores in alone]), rtol=0, atol=1e-12)


def test_a_side_below_eleven_pixels_gets_the_largest_odd_window_that_fits() -> None:
    a, b = random_pair(7, 8)
    windows = [np.s_[:, left : left + 7, channel] for left in (0, 1) for channel in range(3)]
    expected = np.mean([ssim_of_one_window(a[at].astype(float), b[at].astype(float)) for at in windows])

    assert ssim(as_tensor(a), as_tensor(b)).item() == pytest.approx(expected, abs=1e-6)


def test_what_a_file_could_not_hold_does_not_count() -> None:
    target = torch.full((1, 3, 16, 16), 100 / 255)
    almost = target + 0.4 / 255
    target[..., 0], almost[..., 0] = 1.0, 1.7

    assert score(almost, target).psnr_db.item() == score(target, target).psnr_db.item()
    assert quantise(torch.tensor([-3.0, 0.0, 0.5, 9.0])).tolist() == [0.0, 0.0, 128 / 255, 1.0]


def test_a_perfect_image_is_finite_and_better_than_the_smallest_possible_error() -> None:
    target = torch.full((1, 3, 16, 16), 100 / 255)
    nearly = target.clone()
    nearly[0, 1, 7, 7] += 1 / 255
    perfect, imperfect = score(target, target), score(nearly, target)

    assert perfect.psnr_db.item() == pytest.approx(10 * math.log10(255**2 * 4 * 3 * 16 * 16))
    assert perfect.psnr_db.item() - imperfect.psnr_db.item() == pytest.approx(20 * math.log10(2))
    assert perfect.ssim.item() == pytest.approx(1.0)
    assert perfect.quality.item() == pytest.approx(1.0)


def test_a_border_is_left_out_of_every_score() -> None:
    target = torch.rand(1, 3, 20, 24, generator=torch.Generator().manual_seed(1))
    output = target.clone()
    output[..., :2, :] = 0
    output[..., -2:] = 1

    assert score(output, target).psnr_db.item() < 20
    assert score(output, target, border=2) == score(target, target, border=2)


def test_quality_is_a_clamped_mix_of_fidelity_and_structure() -> None:
    psnr = torch.tensor([10.0, 20.0, 35.0, 50.0, 80.0, 15.0])
    structure = torch.tensor([0.5, 0.5, 0.8, 1.0, 1.0, -0.5])

    torch.testing.assert_close(quality(psnr, structure), torch.tensor([0.15, 0.15, 0.59, 1.0, 1.0, 0.0]))


def test_scores_are_not_part_of_the_gradient_graph_but_the_measures_can_be() -> None:
    output = torch.rand(1, 3, 16, 16, requires_grad=True)

    assert not score(output, torch.rand(1, 3, 16, 16)).quality.requires_grad
    assert psnr_db(output, torch.rand(1, 3, 16, 16)).requires_grad


def test_images_that_cannot_be_compared_are_named() -> None:
    image = torch.zeros(1, 3, 8, 8)
    with pytest.raises(UserError, match=r"\(1, 3, 8, 8\) and \(1, 3, 8, 9\)"):
        score(image, torch.zeros(1, 3, 8, 9))
    with pytest.raises(UserError, match=r"\(1, 1, 8, 8\)"):
        score(image[:, :1], image[:, :1])
    with pytest.raises(UserError, match="border of 4 pixels leaves nothing of a 8x8 image"):
        score(image, image, border=4)
