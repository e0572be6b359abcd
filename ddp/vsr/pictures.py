"""A picture file as upright 8-bit RGB: the one place where pixels of other kinds are scaled, or refused by name.

Never clamps: 16 bits are divided by 257 and rounded. What has no one right 8-bit picture is refused: floats, 32-bit
integers, pixels that are transparent, inks, HDR, and files that hold several pictures.
"""

import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from ddp.vsr.unreadable import UnreadableFileError, is_deep_colour, opened_picture, reason_of

Picture = NDArray[np.uint8]  # (H, W, 3)

REFUSED = {
    "F": "its pixels are floating-point numbers, and nothing says which is white",
    "I": "its pixels are 32-bit integers, and nothing says which is white",
    "CMYK": "its pixels are inks (CMYK): convert it to RGB first",
    "LAB": "its pixels are L*a*b*: convert it to RGB first",
}
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
TRANSPARENT = "it has transparent pixels, and nothing says what is behind them"
STEPS_OF_16_BITS = 257  # 65535 / 255
WHITE_IS_ZERO, PHOTOMETRIC = 0, 262
"""A value of a tag of TIFF, which Pillow heeds for 8 bits only, and the tag's number."""
HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
"""Transfer functions by their number in H.273, which the chunk cICP of PNG holds."""
PHOTO = "MPO"  # a camera's JPEG with previews behind the picture


def read_picture(path: Path) -> Picture:
    """Return the picture, (H, W, 3), as a viewer shows it. Raises UnreadableFileError."""
    with opened_picture(path) as image:
        is_deep = is_deep_colour(image)
        _require_single_sdr(image)
        orientation = _orientation_of(image)
        image.load()  # raises for a file that is cut off, whatever reads it afterwards
        if is_deep:
            return _turned(_deep_colour(path), orientation)
        return _turned(_pixels_of(image), _orientation_of(image))  # Pillow turns TIFF files on loading, and then says 1


def _orientation_of(image: Image.Image) -> int:
    return int(image.getexif().get(ExifTags.Base.Orientation, 1))


def _pixels_of(image: Image.Image) -> Picture:
    if image.mode.startswith("I;16"):
        return np.repeat(in_8_bits(_deep_grey(image))[..., None], 3, axis=2)
    if image.mode in REFUSED:
        raise UnreadableFileError(REFUSED[image.mode])
    if not image.has_transparency_data:
        return np.asarray(image.convert("RGB"))
    return _opaque(np.asarray(image.convert("RGBA")), 255)


def _require_single_sdr(image: Image.Image) -> None:
    """Raise UnreadableFileError for animations, several pages and HDR: one of many would be taken, or wrong light."""
    count = getattr(image, "n_frames", 1)
    if count > 1 and image.format != PHOTO:
        raise UnreadableFileError(f"it holds {count} pictures: make a video or single pictures of it")
    transfer = _png_transfer(image) if image.format == "PNG" else None
    if transfer in HDR_TRANSFERS:
        raise UnreadableFileError(f"it is HDR with the transfer function {HDR_TRANSFERS[transfer]}: convert it to SDR")


def _png_transfer(image: Image.Image) -> int | None:
    """Return the transfer function that the chunk cICP names, which stands before the pixels; None without one."""
    file: Any = vars(image)["fp"]
    place = file.tell()
    file.seek(len(PNG_SIGNATURE))
    try:
        while len(head := file.read(8)) == 8 and head[4:] != b"IDAT":
            length = struct.unpack(">I", head[:4])[0]
            if head[4:] == b"cICP":
                return int(file.read(2)[1])
            file.seek(length + 4, 1)
    finally:
        file.seek(place)
    return None


def _deep_grey(image: Image.Image) -> NDArray[Any]:
    values = np.asarray(image)
    clear = image.info.get("transparency")
    if isinstance(clear, int) and (values == clear).any():
        raise UnreadableFileError(TRANSPARENT)
    tags: Any = getattr(image, "tag_v2", {})
    return 65535 - values if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else values


def _deep_colour(path: Path) -> Picture:
    """Return a picture with 16 bits per colour, of which Pillow would read the upper 8 only."""
    try:
        with av.open(str(path)) as container:
            frame = next(container.decode(video=0))
            if not frame.format.name.startswith(("rgb48", "rgba64")):
                raise UnreadableFileError(f"its pixels are of the kind {frame.format.name}: convert it to RGB first")
            pixels = frame.to_ndarray()
    except (av.FFmpegError, StopIteration) as error:
        raise UnreadableFileError(reason_of(error)) from error
    return in_8_bits(_opaque(pixels, 65535))


def _opaque(pixels: NDArray[Any], most: int) -> NDArray[Any]:
    """Return the colours without alpha. Raises UnreadableFileError if a pixel is not opaque."""
    if pixels.shape[2] == 4 and pixels[..., 3].min() < most:
        raise UnreadableFileError(TRANSPARENT)
    return pixels[..., :3]


def in_8_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return values of 16 bits in 8, rounded; divided by 256, as in swscale, they would be up to a level too bright."""
    return ((values.astype(np.uint32) + STEPS_OF_16_BITS // 2) // STEPS_OF_16_BITS).astype(np.uint8)


def _turned(pixels: Picture, orientation: int) -> Picture:
    """Return the picture upright; the orientation is EXIF's, 1 to 8."""
    upright = pixels.swapaxes(0, 1) if orientation in {5, 6, 7, 8} else pixels
    if orientation in {2, 3, 6, 7}:
        upright = upright[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        upright = upright[::-1]
    return np.array(upright, order="C")  # of its own: what Pillow gives cannot be written to
