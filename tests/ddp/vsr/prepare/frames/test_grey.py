"""Grey, big-endian and coarse-chroma frames against the formula, at odd sizes too."""

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from ddp.vsr.prepare.frames.colours import RgbConverter, UnknownColoursError, colours_of, tags_of

LIMITED, FULL, UNTAGGED = 1, 2, 0


def grey_frame(levels: NDArray[np.float64], pixel_format: str, alpha: float = 1.0) -> av.VideoFrame:
    """A frame of the levels, given as whole numbers of the format."""
    frame = av.VideoFrame(levels.shape[1], levels.shape[0], pixel_format)
    parts = frame.format.components
    sample = np.dtype(np.uint8 if parts[0].bits == 8 else (">u2" if pixel_format.endswith("be") else "<u2"))
    rows = np.full((levels.shape[0], frame.planes[0].line_size // sample.itemsize), alpha * (2 ** parts[0].bits - 1))
    rows[:, : levels.shape[1] * len(parts) : len(parts)] = levels
    frame.planes[0].update(rows.astype(sample).tobytes())
    return frame


@pytest.mark.parametrize("tag", [LIMITED, FULL, UNTAGGED])
@pytest.mark.parametrize(
    ("pixel_format", "bits"),
    [("gray", 8), ("gray10le", 10), ("gray16le", 16), ("gray16be", 16), ("ya8", 8), ("ya16be", 16)],
)
def test_grey_is_the_formula_of_its_tagged_range_at_every_depth(pixel_format: str, bits: int, tag: int) -> None:
    levels = np.round(np.linspace(0, 2**bits - 1, 33 * 47)).reshape(33, 47)
    frame = grey_frame(levels, pixel_format)
    frame.color_range = tag
    step = 2 ** (bits - 8)
    exact = (levels - 16 * step) / (219 * step) if tag == LIMITED else levels / (2**bits - 1)
    picture = RgbConverter().convert(frame)
    assert np.abs(picture - 255 * exact.clip(0, 1)[..., None]).max() <= 0.5001
    assert ("limited" if tag == LIMITED else "full") in colours_of(frame)
    assert tags_of(frame).is_full_range == (tag != LIMITED)


def test_grey_that_is_transparent_is_refused() -> None:
    with pytest.raises(UnknownColoursError, match="transparent"):
        RgbConverter().convert(grey_frame(np.full((8, 8), 100.0), "ya8", alpha=0.5))


def test_floating_point_video_is_refused_by_its_reason() -> None:
    with pytest.raises(UnknownColoursError, match="floating-point numbers"):
        colours_of(av.VideoFrame(16, 16, "gbrpf32le"))


@pytest.mark.parametrize("size", [(34, 46), (33, 47)])
@pytest.mark.parametrize("pixel_format", ["rgb48le", "rgb48be", "gbrp16be"])
def test_16_bit_colours_are_rounded_to_the_nearest_level_at_odd_sizes_too(
    pixel_format: str, size: tuple[int, int]
) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (*size, 3)).astype(np.uint16)
    frame = av.VideoFrame.from_ndarray(deep, format=pixel_format)
    assert np.abs(RgbConverter().convert(frame) - deep / 257).max() <= 0.5001


def test_ten_bit_colours_have_no_bias() -> None:
    deep = np.random.default_rng(0).integers(0, 1024, (34, 46, 3)).astype(np.uint16)
    frame = av.VideoFrame.from_ndarray(deep, format="gbrp10le")
    assert np.abs(RgbConverter().convert(frame) - deep.astype(float) * 255 / 1023).max() <= 0.51


@pytest.mark.parametrize("pixel_format", ["yuv411p", "yuv410p", "yuv422p", "yuv440p"])
def test_coarse_chroma_of_a_size_that_it_does_not_divide_is_taken_as_it_is(pixel_format: str) -> None:
    frame = av.VideoFrame(45, 35, pixel_format)
    for plane, value in zip(frame.planes, (120, 90, 170), strict=True):
        plane.update(np.full(plane.buffer_size, value, np.uint8).tobytes())
    y, u, v = (120 - 16) * 255 / 219, -38 * 255 / 224, 42 * 255 / 224
    expected = [y + 1.402 * v, y - (0.114 * 1.772 * u + 0.299 * 1.402 * v) / 0.587, y + 1.772 * u]
    assert np.abs(RgbConverter().convert(frame) - np.array(expected)).max() < 0.6


def test_packed_chroma_of_an_odd_width_is_refused_by_its_reason() -> None:
    with pytest.raises(UnknownColoursError, match="its size is odd and its pixels are of the kind uyvy422"):
        RgbConverter().convert(av.VideoFrame(45, 34, "uyvy422"))
