"""Pictures of every kind against numpy and Pillow's own turning."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ddp.vsr.pictures import read_picture
from ddp.vsr.unreadable import UnreadableFileError

GREY, RGB, GREY_ALPHA, RGB_ALPHA = 0, 2, 4, 6  # PNG's types of colour


def random_pixels(*shape: int) -> NDArray[np.uint16]:
    return np.random.default_rng(len(shape)).integers(0, 65536, shape, dtype=np.uint16)


def write_deep_png(path: Path, pixels: NDArray[np.uint16], colour: int) -> Path:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, colour, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(p)) + n + p + struct.pack(">I", zlib.crc32(n + p)) for n, p in parts]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return path


def scaled(pixels: NDArray[np.uint16]) -> NDArray[np.float64]:
    return np.round(pixels * 255.0 / 65535.0)


def test_16_bit_grey_is_scaled(tmp_path: Path) -> None:
    pixels = random_pixels(20, 30)
    expected = np.repeat(scaled(pixels)[..., None], 3, axis=2)
    np.testing.assert_array_equal(read_picture(write_deep_png(tmp_path / "a.png", pixels, GREY)), expected)
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif"), expected)


def test_16_bit_colours_are_rounded_and_not_cut_off(tmp_path: Path) -> None:
    pixels = random_pixels(20, 30, 3)
    np.testing.assert_array_equal(read_picture(write_deep_png(tmp_path / "a.png", pixels, RGB)), scaled(pixels))
    opaque = np.dstack([pixels, np.full((20, 30), 65535, np.uint16)])
    np.testing.assert_array_equal(read_picture(write_deep_png(tmp_path / "b.png", opaque, RGB_ALPHA)), scaled(pixels))


def test_a_16_bit_picture_that_is_cut_off_is_unreadable(tmp_path: Path) -> None:
    path = write_deep_png(tmp_path / "a.png", random_pixels(60, 60, 3), RGB)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(UnreadableFileError):
        read_picture(path)


@pytest.mark.parametrize(
    ("mode", "reason"), [("F", "floating-point"), ("I", "32-bit integers"), ("CMYK", "inks"), ("LAB", "L*a*b*")]
)
def test_pixels_without_a_right_8_bit_picture_are_refused_by_name(tmp_path: Path, mode: str, reason: str) -> None:
    Image.new(mode, (16, 16)).save(tmp_path / "a.tif")
    with pytest.raises(UnreadableFileError) as raised:
        read_picture(tmp_path / "a.tif")
    assert reason in str(raised.value)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_are_refused_and_opaque_ones_taken(tmp_path: Path, mode: str) -> None:
    colours = random_pixels(8, 9, 3).astype(np.uint8)
    image = Image.fromarray(colours).convert(mode)
    image.save(tmp_path / "opaque.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "opaque.png"), np.asarray(image.convert("RGB")))
    image.putalpha(254)
    image.save(tmp_path / "transparent.png")
    with pytest.raises(UnreadableFileError, match="transparent"):
        read_picture(tmp_path / "transparent.png")


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    image = Image.fromarray(random_pixels(8, 9, 3).astype(np.uint8)).quantize(16)
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_comes_upright(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(random_pixels(24, 16, 3).astype(np.uint8)).save(path, exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert expected.shape == ((16, 24, 3) if orientation > 4 else (24, 16, 3))
    np.testing.assert_array_equal(read_picture(path), expected)


def test_16_bit_grey_whose_white_is_zero_is_no_negative(tmp_path: Path) -> None:
    pixels = random_pixels(20, 30)
    Image.fromarray(pixels).save(tmp_path / "a.tif", tiffinfo={262: 0})
    with Image.open(tmp_path / "a.tif") as image:
        assert image.tag_v2[262] == 0
    expected = np.repeat(scaled(65535 - pixels)[..., None], 3, axis=2)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif"), expected)


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_a_file_of_several_pictures_is_refused(tmp_path: Path, suffix: str) -> None:
    first, *others = (Image.fromarray(np.full((8, 8, 3), level, np.uint8)) for level in (10, 90, 200))
    first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=others)
    with pytest.raises(UnreadableFileError, match="it holds 3 pictures"):
        read_picture(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
@pytest.mark.parametrize("deep", [False, True])
def test_a_png_that_says_that_it_is_hdr_is_refused(tmp_path: Path, transfer: int, name: str, deep: bool) -> None:
    path = write_deep_png(tmp_path / "a.png", random_pixels(8, 8, 3), RGB)
    if not deep:
        Image.new("RGB", (8, 8)).save(path)
    part = b"cICP" + bytes([9, transfer, 0, 1])
    content, after_header = path.read_bytes(), 33
    chunk = struct.pack(">I", 4) + part + struct.pack(">I", zlib.crc32(part))
    path.write_bytes(content[:after_header] + chunk + content[after_header:])
    with pytest.raises(UnreadableFileError, match=f"HDR with the transfer function {name}"):
        read_picture(path)
