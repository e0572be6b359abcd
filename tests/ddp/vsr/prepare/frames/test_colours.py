"""Colours against H.273's matrices and the cubic interpolation of chroma, in float64, without swscale."""

import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from ddp.vsr.prepare.frames.colours import RgbConverter, UnknownColoursError, box_mean, colours_of
from ddp.vsr.prepare.scenes import survey
from ddp.vsr.prepare.sources import Source, find_sources
from ddp.vsr.prepare.video import DamagedVideoError, describe_colours, read_frames
from tests.ddp.harness.colour_formula import NUMBERS, Planes, frame_of, natural_noise, natural_planes, rgb_of

FULL_RANGE = 2


def assert_equal_to_rounding(picture: NDArray[np.uint8], expected: NDArray[np.float64], most: float = 2.0) -> None:
    difference = picture - expected
    assert np.abs(difference.mean(axis=(0, 1))).max() < 0.03
    assert difference.std() < 0.32  # of rounding alone: 0.289
    assert np.quantile(np.abs(difference), 0.99) <= 0.52
    assert np.abs(difference).max() < most


@pytest.mark.parametrize("size", [(120, 160), (121, 160), (120, 161), (121, 161), (121, 163)])
def test_rgb_is_the_formula_to_rounding_at_even_and_odd_sizes(size: tuple[int, int]) -> None:
    planes = natural_planes(*size)
    assert_equal_to_rounding(RgbConverter().convert(frame_of(planes)), rgb_of(planes, "BT.601"))


def test_the_same_measure_shows_what_a_plain_conversion_costs() -> None:
    planes = natural_planes(120, 160)
    plain = frame_of(planes).reformat(format="rgb24").to_ndarray() - rgb_of(planes, "BT.601")
    assert (plain.mean(axis=(0, 1)) < -0.9).all()
    assert plain.std() > 2


@pytest.mark.parametrize("matrix", list(NUMBERS))
@pytest.mark.parametrize("full", [False, True])
def test_tagged_matrix_and_range_are_followed(matrix: str, full: bool) -> None:
    planes = natural_planes(96, 128)
    frame = frame_of(planes)
    frame.colorspace = NUMBERS[matrix]
    if full:
        frame.color_range = FULL_RANGE
    assert_equal_to_rounding(RgbConverter().convert(frame), rgb_of(planes, matrix, full=full))
    assert colours_of(frame) == f"{matrix}, {'full' if full else 'limited'} range"


@pytest.mark.parametrize(
    ("size", "matrix"),
    [((718, 1278), "BT.601"), ((720, 960), "BT.709"), ((544, 1280), "BT.709"), ((721, 64), "BT.709")],
)
def test_untagged_video_is_taken_as_players_take_it(size: tuple[int, int], matrix: str) -> None:
    planes = natural_planes(*size)
    frame = frame_of(planes)
    assert_equal_to_rounding(RgbConverter().convert(frame), rgb_of(planes, matrix))
    assert colours_of(frame) == f"{matrix} (assumed), limited range"


def test_ten_bits_are_rounded_once() -> None:
    planes = natural_planes(96, 128, depth=10)
    as_8_bit = rgb_of((planes[0] / 4, planes[1] / 4, planes[2] / 4), "BT.601")
    assert_equal_to_rounding(RgbConverter().convert(frame_of(planes, "yuv420p10le")), as_8_bit)


def test_a_matrix_that_cannot_be_converted_is_named() -> None:
    frame = frame_of(natural_planes(32, 32))
    frame.colorspace = 8  # YCgCo
    with pytest.raises(UnknownColoursError, match=r"matrix 8 of H\.273"):
        RgbConverter().convert(frame)


@pytest.mark.parametrize("divisor", [1, 2, 3, 4, 5, 20])
def test_dividing_is_the_box_mean_for_every_divisor(divisor: int) -> None:
    picture = np.random.default_rng(divisor).integers(0, 256, (121, 163, 3), dtype=np.uint8)
    height, width = 121 // divisor, 163 // divisor
    blocks = picture[: height * divisor, : width * divisor].reshape(height, divisor, width, divisor, 3)
    expected = np.floor(blocks.mean(axis=(1, 3), dtype=np.float64) + 0.5 + 1e-9)
    np.testing.assert_array_equal(box_mean(picture, divisor), expected)


@pytest.mark.parametrize("size", [(720, 640), (721, 641)])
def test_halved_frames_are_the_box_mean_of_the_formula(size: tuple[int, int]) -> None:
    planes = natural_planes(*size)
    whole = rgb_of(planes, "BT.709")[: size[0] // 2 * 2, : size[1] // 2 * 2]
    expected = whole.reshape(size[0] // 2, 2, size[1] // 2, 2, 3).mean(axis=(1, 3))
    difference = RgbConverter().convert(frame_of(planes), 2) - expected
    assert np.abs(difference.mean(axis=(0, 1))).max() < 0.15  # four values of which each is rounded, and their mean
    assert np.abs(difference).max() < 1.5


def write_lossless(path: Path, planes: Planes, codec: str, options: dict[str, str]) -> Source:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = planes[0].shape[1], planes[0].shape[0], "yuv420p"
        for number in range(2):
            frame = frame_of(planes)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return Source(path.name, path)


@pytest.mark.parametrize(
    ("codec", "options", "left", "size"),
    [("libx264", {"qp": "0"}, True, (96, 128)), ("ffv1", {}, False, (97, 129))],
)
def test_frames_of_a_file_have_the_colours_of_the_formula_where_its_chroma_lies(
    tmp_path: Path, codec: str, options: dict[str, str], left: bool, size: tuple[int, int]
) -> None:
    planes = natural_planes(*size)
    source = write_lossless(tmp_path / "a.mkv", planes, codec, options)
    for _, picture in read_frames(source):
        assert_equal_to_rounding(picture, rgb_of(planes, "BT.601", left=left))
    assert describe_colours(source) == "BT.601 (assumed), limited range"


def test_y4m_of_444_is_the_formula_without_interpolation(tmp_path: Path) -> None:
    luma, *_ = natural_planes(33, 47)
    blue, red = (np.round(128 + 12 * natural_noise(np.random.default_rng(i), 33, 47)) for i in range(2))
    path = tmp_path / "a.y4m"
    pixels = b"".join(plane.astype(np.uint8).tobytes() for plane in (luma, blue, red))
    path.write_bytes(b"YUV4MPEG2 W47 H33 F25:1 Ip A1:1 C444\nFRAME\n" + pixels)
    (source,) = find_sources(tmp_path).sources
    _, picture = next(read_frames(source))

    y, u, v = (luma - 16) * 255 / 219, (blue - 128) * 255 / 224, (red - 128) * 255 / 224
    expected = np.stack([y + 1.402 * v, y - (0.114 * 1.772 * u + 0.299 * 1.402 * v) / 0.587, y + 1.772 * u], axis=-1)
    assert np.abs(picture - expected.clip(0, 255)).max() < 0.6


def test_a_video_in_unknown_colours_is_left_out_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"colorspace": "ycgco"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        container.mux(stream.encode(frame_of(natural_planes(64, 64))))
        container.mux(stream.encode())
    with pytest.raises(DamagedVideoError, match=r"matrix 8 of H\.273"):
        list(read_frames(Source(path.name, path)))


@pytest.mark.parametrize(
    ("transfer", "reason"), [("smpte2084", "HDR with the transfer function PQ"), ("arib-std-b67", "HLG")]
)
def test_hdr_is_left_out_by_its_name(tmp_path: Path, transfer: str, reason: str) -> None:
    options = {"color_trc": transfer, "colorspace": "bt2020nc", "color_primaries": "bt2020"}
    source = write_lossless(tmp_path / "a.mkv", natural_planes(64, 64), "libx264", options)
    with pytest.raises(DamagedVideoError, match=reason):
        list(read_frames(source))
    with pytest.raises(DamagedVideoError, match=reason):
        survey(source)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("flip", ["", "hflip", "vflip"])
def test_a_turned_or_mirrored_video_is_shown_as_players_show_it(tmp_path: Path, degrees: int, flip: str) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(degrees, hflip=flip == "hflip", vflip=flip == "vflip")
        container.mux(stream.encode(frame_of(natural_planes(48, 64))))
        container.mux(stream.encode())
    _, picture = next(read_frames(Source(path.name, path)))
    height, width = (64, 48) if degrees % 180 else (48, 64)
    assert picture.shape == (height, width, 3)
    if shutil.which("ffmpeg") is None:
        pytest.skip("no ffmpeg")
    command = ["ffmpeg", "-v", "error", "-i", path, "-vf", "format=gray", "-f", "rawvideo", "-"]
    raw = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    luma = np.frombuffer(raw, np.uint8).reshape(height, width).astype(np.float64)
    ours = picture @ np.array([0.299, 0.587, 0.114])
    assert np.corrcoef(luma.ravel(), ours.ravel())[0, 1] > 0.99


def test_a_slanted_video_is_left_out_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(30)
        container.mux(stream.encode(frame_of(natural_planes(48, 64))))
        container.mux(stream.encode())
    with pytest.raises(DamagedVideoError, match="no quarter turn"):
        list(read_frames(Source(path.name, path)))


@pytest.mark.parametrize(("alpha", "pixel_format"), [(255, "yuva420p"), (254, "yuva420p"), (254, "bgra")])
def test_a_video_with_transparent_pixels_is_left_out_and_an_opaque_one_taken(
    tmp_path: Path, alpha: int, pixel_format: str
) -> None:
    planes = natural_planes(48, 64)
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixel_format
        frame = av.VideoFrame(64, 48, pixel_format)
        for plane, values in zip(frame.planes, (*planes, np.full((48, 64), alpha)), strict=False):
            rows = np.full((plane.height, plane.line_size), alpha, np.uint8)
            rows[:, : plane.width] = values
            plane.update(rows.tobytes())
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    source = Source(path.name, path)
    if alpha == 255:
        _, picture = next(read_frames(source))
        assert_equal_to_rounding(picture, rgb_of(planes, "BT.601"))
    else:
        with pytest.raises(DamagedVideoError, match="transparent"):
            survey(source)
