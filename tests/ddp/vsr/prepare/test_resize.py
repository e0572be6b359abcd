"""Making LR images: against a published one, Pillow's and SciPy's independent kernels, and what must hold exactly."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter1d

from ddp.vsr.prepare.resize import blur_down, imresize
from service.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[4]
PUBLISHED_IMAGES = REPOSITORY / os.environ.get("LEITSTAND_METRIC_IMAGES", "../shared/data/metrics")


@pytest.mark.parametrize("name", ["baboon", "comic"])
def test_a_quarter_of_the_published_image_equals_the_published_lr_image_in_every_byte(name: str) -> None:
    if not PUBLISHED_IMAGES.is_dir():
        pytest.skip(f"no published images in {PUBLISHED_IMAGES}: set LEITSTAND_METRIC_IMAGES")
    gt = np.asarray(Image.open(PUBLISHED_IMAGES / f"{name}_gt.png"))
    lr = np.asarray(Image.open(PUBLISHED_IMAGES / f"{name}_lr_x4.png"))

    np.testing.assert_array_equal(imresize(gt, *lr.shape[:2]), lr)


@pytest.mark.parametrize(("height", "width"), [(32, 30), (24, 90), (96, 60), (200, 180)])
def test_away_from_the_border_it_agrees_with_pillow(height: int, width: int) -> None:
    """Pillow uses the same kernel and antialiasing, and differs only in cutting the kernel off at the border."""
    image = np.random.default_rng(0).random((96, 90)).astype(np.float32)
    resized = imresize(image, height, width)
    pillow = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
    rows = int(np.ceil(2 * max(height / 96, 1))) + 1
    columns = int(np.ceil(2 * max(width / 90, 1))) + 1

    inside = np.s_[rows:-rows, columns:-columns]
    np.testing.assert_allclose(resized[inside], pillow[inside], atol=2e-6)


def test_the_same_size_gives_the_same_bytes() -> None:
    image = np.random.default_rng(1).integers(0, 256, (13, 17, 3), dtype=np.uint8)

    np.testing.assert_array_equal(imresize(image, 13, 17), image)


def test_a_flat_image_stays_flat_up_to_its_border() -> None:
    image = np.full((20, 31, 3), 77, dtype=np.uint8)

    assert np.all(imresize(image, 7, 11) == 77)
    assert np.all(imresize(image, 60, 93) == 77)


def test_every_channel_is_resized_by_itself() -> None:
    image = np.random.default_rng(2).random((24, 36, 3))
    together = imresize(image, 8, 12)

    assert together.dtype == np.float64
    for channel in range(3):
        np.testing.assert_array_equal(together[..., channel], imresize(image[..., channel], 8, 12))


def test_overshoot_is_kept_in_floats_and_clipped_in_bytes() -> None:
    edge = np.zeros((8, 16))
    edge[:, 8:] = 1.0

    assert imresize(edge, 8, 48).max() > 1.01
    assert imresize((edge * 255).astype(np.uint8), 8, 48).max() == 255


def test_an_image_that_cannot_be_resized_is_named() -> None:
    with pytest.raises(UserError, match="uint16"):
        imresize(np.zeros((4, 4), dtype=np.uint16), 2, 2)
    with pytest.raises(UserError, match=r"\(4,\)"):
        imresize(np.zeros(4), 2, 2)
    with pytest.raises(UserError, match="0x2"):
        imresize(np.zeros((4, 4)), 0, 2)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_blur_down_is_every_scaleth_pixel_of_scipys_gaussian_also_at_the_border(scale: int) -> None:
    image = np.random.default_rng(3).random((37, 50, 3))
    blurred = image
    for axis in (0, 1):
        blurred = gaussian_filter1d(blurred, 1.6, axis=axis, mode="mirror", radius=6)
    expected = blurred[::scale, ::scale][: 37 // scale, : 50 // scale]

    np.testing.assert_allclose(blur_down(image, scale), expected, atol=1e-12)
    as_bytes = (image * 255).astype(np.uint8)
    assert blur_down(as_bytes, scale).dtype == np.uint8
    np.testing.assert_allclose(blur_down(as_bytes, scale), blur_down(as_bytes.astype(float), scale), atol=0.5)


def test_blur_down_takes_images_smaller_than_its_kernel() -> None:
    for height, width in ((2, 2), (2, 9), (5, 4)):
        assert np.all(blur_down(np.full((height, width), 77, dtype=np.uint8), 2) == 77)
