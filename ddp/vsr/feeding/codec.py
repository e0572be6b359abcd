"""H.264 on the low-resolution frames of a training sample: one clip, encoded and decoded as a whole.

So its frames have what a video's frames have: predicted from each other, blocks that move, detail that comes and goes.
The clip begins with frames that are no part of the sample (the sample's own, backwards), as many as are drawn, so that
not always the first frame is the one that is encoded alone. Never reads or writes a file.

Legend: T = frames; h, w = LR size.
"""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

from ddp.vsr.prepare.frames.colours import EXACT
from service.errors import SettingError

ENCODER = "libx264"
RATE = 25
PRESET = "veryfast"

Clip = NDArray[np.uint8]  # (T, h, w, 3)


def require_encoder() -> None:
    """Raise `SettingError` if PyAV has no H.264 encoder."""
    if not _has_encoder():
        raise SettingError(
            f"LR_CODEC_CRF needs the encoder {ENCODER}, which this installation of PyAV {av.__version__} lacks: "
            "install `av` from its wheels, or set LR_CODEC_CRF to 0.",
            ["LR_CODEC_CRF"],
        )


def through_codec(frames: Clip, crf: int, lead: int) -> Clip:
    """Return a clip as H.264 (4:2:0, `crf` 0…51) shows it, of a video that began `lead` frames earlier, 0…T - 1.

    The same on any number of threads and any processor. Sides that are odd are completed by their last pixels.
    """
    height, width = frames.shape[1:3]
    whole = np.concatenate([frames[lead:0:-1], frames])
    even = np.pad(whole, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    shown = list(_decoded(_encoded(even, crf)))
    return np.stack(shown[lead:])[:, :height, :width]


def _encoded(frames: Clip, crf: int) -> Iterator[Any]:
    """Yield the packets of a video of these frames."""
    encoder = cast("VideoCodecContext", av.CodecContext.create(ENCODER, "w"))
    encoder.height, encoder.width = frames.shape[1:3]
    encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuv420p", Fraction(1, RATE), Fraction(RATE)
    encoder.thread_count = 1
    encoder.options = {"crf": str(crf), "preset": PRESET}
    reformatter = VideoReformatter()
    for number, picture in enumerate(frames):
        frame = reformatter.reformat(
            av.VideoFrame.from_ndarray(picture, format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU601,
            dst_color_range=ColorRange.MPEG,
            interpolation=EXACT,
            threads=1,
        )
        frame.pts, frame.time_base = number, encoder.time_base
        yield from encoder.encode(frame)
    yield from encoder.encode(None)


def _decoded(packets: Iterator[Any]) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames of a video, (h, w, 3)."""
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    reformatter = VideoReformatter()
    for packet in (*packets, None):
        for frame in decoder.decode(packet):
            shown = reformatter.reformat(
                frame, format="rgb24", src_colorspace=Colorspace.ITU601, interpolation=EXACT, threads=1
            )
            yield shown.to_ndarray().astype(np.uint8, copy=False)


def _has_encoder() -> bool:
    try:
        av.codec.Codec(ENCODER, "w")
    except av.codec.codec.UnknownCodecError:
        return False
    return True
