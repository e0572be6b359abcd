"""Colours: the one place where a decoded frame becomes upright 8-bit RGB, as players show it. Never opens a file.

swscale is right only with both flags of `EXACT`: without them its pictures are 1 to 2 levels too dark, and chroma is
repeated instead of interpolated. It scales the chroma of an odd width or height by a wrong factor, so such frames are
completed to even sizes first. Grey is computed by `grey`, since swscale takes its range by the depth. Shrinking is the
box mean of the RGB pixels, whatever the divisor. HDR is mapped to SDR by `hdr`, where that is asked for.

Legend: H, W = a frame's height and width.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from numpy.typing import NDArray

from ddp.vsr.pictures import TRANSPARENT, in_8_bits
from ddp.vsr.prepare.frames.chroma_blocks import completed, is_even
from ddp.vsr.prepare.frames.display_matrix import display_matrix_of
from ddp.vsr.prepare.frames.grey import TransparentPixelsError, grey_picture, is_grey
from ddp.vsr.prepare.frames.hdr import BT_2020, NAMES, PRIMARIES, WHITE, HdrColours, as_sdr, brightest
from ddp.vsr.prepare.frames.pixels import UnknownColoursError as UnknownColoursError
from ddp.vsr.prepare.frames.pixels import bits_of, is_floating, is_rgb, is_without_chroma

CONVERSION = "bicubic chroma, accurate rounding, box mean"
"""What a manifest says of how its pictures were made. Sets made before it was noted lack it."""

EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT

HD_HEIGHT, HD_WIDTH = 720, 1280  # untagged video of this height or width or more is BT.709 to players

NEARLY_STRAIGHT = 50  # a display matrix that deviates from a quarter turn by more than 1 / 50 is another turn
UNTAGGED = 2
MATRICES = {1: "BT.709", 4: "FCC", 5: "BT.601", 6: "BT.601", 7: "SMPTE 240M", 9: "BT.2020"}
"""The matrices that swscale knows, by their number in H.273."""
SWSCALE_NUMBERS = {6: 5}  # where swscale has another number than H.273

NOT_SDR = {
    8: "linear light",
    9: "a logarithmic transfer function",
    10: "a logarithmic transfer function",
    16: "HDR with the transfer function PQ",
    17: "the transfer function of SMPTE ST 428",
    18: "HDR with the transfer function HLG",
}
"""Transfer functions, by their number in H.273, whose pictures would be wrong if shown as they are."""

BT_709, SRGB = 1, 13  # a matrix or primaries, and a transfer function

OPAQUE = (255, 65535)  # of 8 and of 16 bits
LIMITED_WHITE = 65283  # see `_deep_white`

BRIGHT_SHARE = 0.999
"""Of the pixels of a frame: what is brighter is not its brightest spot, but noise."""
BRIGHTNESS_STEP = 4  # every fourth pixel of every fourth row tells how bright a frame is

Frame = NDArray[np.uint8]  # (H, W, 3)


@dataclass(frozen=True)
class ColourTags:
    """How the colours of video are to be shown: numbers of H.273, of which 2 says nothing, and the range."""

    matrix: int
    primaries: int
    transfer: int
    is_full_range: bool


class RgbConverter:
    """Converts the frames of one video; keeps what swscale computes once for a size and a format."""

    def __init__(self, hdr_peak: float | None = None) -> None:
        """HDR is mapped to SDR from a brightest light of `hdr_peak` cd/m²; None refuses it."""
        self._reformatter = VideoReformatter()
        self._hdr_peak = hdr_peak

    def convert(self, frame: Any, divisor: int = 1) -> Frame:
        """Return the frame as RGB, (H // divisor, W // divisor, 3), turned upright. Raises UnknownColoursError."""
        hdr = _hdr_colours(frame, self._hdr_peak is not None)
        picture = self._rgb(frame, hdr) if hdr or not is_grey(frame) else _grey_rgb(frame)
        return _upright(box_mean(picture, divisor), frame)

    def _rgb(self, frame: Any, hdr: HdrColours | None) -> Frame:
        even = frame if is_even(frame) else completed(frame)
        has_alpha = any(part.is_alpha for part in frame.format.components)
        is_deep = hdr is not None or (is_rgb(frame) and bits_of(frame) > 8)
        formats = ("rgb48le", "rgba64le") if is_deep else ("rgb24", "rgba")
        made = self._reformatter.reformat(
            even,
            format=formats[has_alpha],
            src_colorspace=_swscale_matrix(frame),
            interpolation=EXACT,
            threads=1,
        )
        picture: NDArray[Any] = made.to_ndarray()[: frame.height, : frame.width]
        if has_alpha and picture[..., 3].min() < OPAQUE[is_deep]:
            raise UnknownColoursError(TRANSPARENT)
        colours: NDArray[Any] = picture[..., :3]
        if hdr is not None:
            return as_sdr(colours, hdr, self._hdr_peak or WHITE)
        return in_8_bits(colours) if is_deep else colours


def brightness_of(frame: Any) -> float:
    """Return the light of the brightest spot of an HDR frame in cd/m², at least SDR's white; 0 for SDR."""
    hdr = _hdr_colours(frame, maps_hdr=True)
    if hdr is None:
        return 0.0
    width, height = (max(1, side // BRIGHTNESS_STEP) for side in (frame.width, frame.height))
    small = frame.reformat(
        width, height, "rgb48le", src_colorspace=_swscale_matrix(frame), interpolation=Interpolation.POINT
    )
    return max(brightest(small.to_ndarray(), hdr, BRIGHT_SHARE), WHITE)


def box_mean(picture: Frame, divisor: int) -> Frame:
    """Return the mean of every `divisor` x `divisor` pixels, rounded half up; rows and columns left over are cut off.

    A view of the picture for divisor 1.
    """
    height, width = picture.shape[0] // divisor * divisor, picture.shape[1] // divisor * divisor
    whole = picture[:height, :width]
    if divisor == 1:
        return whole
    area = divisor**2
    rows = _sum_of_every(whole.astype(np.uint16 if area * 256 <= 2**16 else np.uint32), divisor)
    total = _sum_of_every(rows.swapaxes(0, 1), divisor).swapaxes(0, 1)
    return ((total + total.dtype.type(area // 2)) // total.dtype.type(area)).astype(np.uint8)


def _sum_of_every(picture: NDArray[Any], count: int) -> NDArray[Any]:
    """Return the sums of every `count` rows; a loop over slices is ten times as fast as a sum over an axis."""
    total = picture[::count].copy()
    for offset in range(1, count):
        total += picture[offset::count]
    return total


def colours_of(frame: Any, maps_hdr: bool = False) -> str:
    """Return how a frame is taken, such as `BT.709 (assumed), limited range`. Raises UnknownColoursError."""
    hdr = _hdr_colours(frame, maps_hdr)
    _turns_of(frame)
    if is_floating(frame):
        raise UnknownColoursError("its pixels are floating-point numbers, and nothing says which is white")
    mapped = f", {NAMES[hdr.transfer]} mapped to SDR" if hdr else ""
    if is_rgb(frame):
        return f"RGB{mapped}"
    matrix, is_assumed = _matrix_of(frame)
    return f"{MATRICES[matrix]}{' (assumed)' if is_assumed else ''}, {_range_name(frame)} range{mapped}"


def _hdr_colours(frame: Any, maps_hdr: bool) -> HdrColours | None:
    """Return how an HDR frame holds its light, None for SDR. Raises UnknownColoursError for what is not mapped."""
    transfer, primaries = int(frame.color_trc), int(frame.color_primaries)
    if transfer not in NOT_SDR:
        return None
    if transfer not in NAMES or not maps_hdr:
        raise UnknownColoursError(f"it is {NOT_SDR[transfer]}: convert it to SDR first")
    primaries = BT_2020 if primaries == UNTAGGED else primaries
    if primaries not in PRIMARIES:
        raise UnknownColoursError(f"it is HDR in the primaries {primaries} of H.273, which cannot be converted")
    return HdrColours(transfer, primaries, _deep_white(frame))


def _deep_white(frame: Any) -> int:
    """Return what swscale makes of white in RGB of 16 bits: full scale of deep RGB only.

    See `findings/swscale-deep-white.sh`.
    """
    bits = bits_of(frame)
    if is_rgb(frame):
        return OPAQUE[1] if bits > 8 else LIMITED_WHITE
    return (2**bits - 1) << (16 - bits) if _is_full_range(frame) else LIMITED_WHITE


def is_hdr(frame: Any) -> bool:
    """Return whether a frame is HDR of a kind that can be mapped to SDR."""
    return int(frame.color_trc) in NAMES


def tags_of(frame: Any) -> ColourTags:
    """Return the tags with which a video of the same colours is shown alike, whatever its size; RGB gets BT.709."""
    primaries, transfer = int(frame.color_primaries), int(frame.color_trc)
    if is_rgb(frame):
        known = (BT_709 if primaries == UNTAGGED else primaries, SRGB if transfer == UNTAGGED else transfer)
        return ColourTags(BT_709, *known, is_full_range=False)
    return ColourTags(_matrix_of(frame)[0], primaries, transfer, _is_full_range(frame))


def is_transposed(frame: Any) -> bool:
    """Return whether the upright frame is as wide as this one is high. Raises UnknownColoursError."""
    return _turns_of(frame)[0]


def _range_name(frame: Any) -> str:
    return "full" if _is_full_range(frame) else "limited"


def _is_full_range(frame: Any) -> bool:
    if is_without_chroma(frame):
        return bool(frame.color_range != ColorRange.MPEG)
    return bool(frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj"))


def _grey_rgb(frame: Any) -> Frame:
    try:
        return grey_picture(frame, is_full_range=_is_full_range(frame))
    except TransparentPixelsError:
        raise UnknownColoursError(TRANSPARENT) from None


def _turns_of(frame: Any) -> tuple[bool, bool, bool]:
    """Return whether to transpose a frame, then to mirror it left-right, then up-down. Raises UnknownColoursError."""
    found = display_matrix_of(frame)
    if found is None:
        return False, False, False
    a, b, c, d = found  # x' = ax + cy, y' = bx + dy
    if max(abs(b), abs(c)) * NEARLY_STRAIGHT <= min(abs(a), abs(d)):
        return False, a < 0, d < 0
    if max(abs(a), abs(d)) * NEARLY_STRAIGHT <= min(abs(b), abs(c)):
        return True, c < 0, b < 0
    raise UnknownColoursError(f"it is turned by {frame.rotation} degrees, which is no quarter turn")


def _upright(picture: Frame, frame: Any) -> Frame:
    transposed, mirrored, upside_down = _turns_of(frame)
    turned = picture.swapaxes(0, 1) if transposed else picture
    return np.ascontiguousarray(turned[:: -1 if upside_down else 1, :: -1 if mirrored else 1])


def _matrix_of(frame: Any) -> tuple[int, bool]:
    """Return the number of the frame's matrix, and whether it is assumed. Raises UnknownColoursError."""
    number = int(frame.colorspace)
    if number in MATRICES:
        return number, False
    if number == UNTAGGED and int(frame.color_trc) in NAMES:
        return BT_2020, True
    if number == UNTAGGED or is_without_chroma(frame):
        is_hd = frame.height >= HD_HEIGHT or frame.width >= HD_WIDTH
        return (1 if is_hd else 6), True
    raise UnknownColoursError(f"its colours are in the matrix {number} of H.273, which cannot be converted")


def _swscale_matrix(frame: Any) -> int | None:
    if is_rgb(frame):
        return None
    number, _ = _matrix_of(frame)
    return SWSCALE_NUMBERS.get(number, number)
