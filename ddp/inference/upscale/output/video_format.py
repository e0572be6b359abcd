"""How the output video is encoded: which codec and pixel format by the input's properties and the file's suffix."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from ddp.inference.upscale.input.video_clip import VideoProperties
from ddp.inference.upscale.output.planes import PlaneFormat
from ddp.vsr.prepare.frames.colours import BT_709, SRGB, ColourTags

H264_OPTIONS = {"preset": "medium", "bf": "0"}
VP9_OPTIONS = {"b": "0", "deadline": "good", "cpu-used": "3", "row-mt": "1", "auto-alt-ref": "0", "lag-in-frames": "0"}
CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""Containers that can keep frame times, by the suffix of the output."""
CHROMA_NAMES = {(1, 1): "444", (2, 1): "422", (2, 2): "420"}
MOST_BITS = 10
FULL, LIMITED = 2, 1


@dataclass(frozen=True)
class VideoFormat:
    """Container, codec, pixels and tags of a video of `width` x `height` pixels."""

    container: str
    codec: str
    options: Mapping[str, str]
    width: int
    height: int
    planes: PlaneFormat
    tags: ColourTags
    pixel_aspect: Fraction | None
    time_base: Fraction
    rate: Fraction
    notices: tuple[str, ...] = field(default=())

    @property
    def pixel_format(self) -> str:
        """Return ffmpeg's name of the pixel format."""
        deep = f"{self.planes.depth_bits}le" if self.planes.depth_bits > 8 else ""
        return f"yuv{CHROMA_NAMES[self.planes.subsampling]}p{deep}"

    def set_up(self, stream: Any) -> None:
        """Give a new stream of the codec the size, pixels and tags."""
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = self.width, self.height, self.pixel_format
        context.time_base = stream.time_base = self.time_base
        context.framerate = self.rate
        context.colorspace = self.tags.matrix
        context.color_primaries, context.color_trc = self.tags.primaries, self.tags.transfer
        context.color_range = FULL if self.tags.is_full_range else LIMITED
        if self.pixel_aspect:
            context.sample_aspect_ratio = self.pixel_aspect


def format_for(suffix: str, size: tuple[int, int], properties: VideoProperties, quality: int) -> VideoFormat:
    """Return the format of an output of `size` (width, height) with a suffix of CONTAINERS; `quality` is the CRF.

    Chroma is as fine as the input's; RGB becomes 4:2:0, which every player shows.
    """
    container = CONTAINERS[suffix]
    is_vp9 = container == "webm"
    wanted = (2, 2) if properties.is_rgb else properties.subsampling
    subsampling = wanted if wanted in CHROMA_NAMES else (2, 2)
    notices: tuple[str, ...] = ()
    if not is_vp9 and (size[0] % subsampling[0] or size[1] % subsampling[1]):
        subsampling = (1, 1)
        notices = (f"{size[0]}x{size[1]} is odd, so the output is H.264 in 4:4:4, which some players cannot show",)
    depth = 8 if is_vp9 or properties.depth_bits <= 8 or properties.is_rgb else MOST_BITS
    return VideoFormat(
        container=container,
        codec="libvpx-vp9" if is_vp9 else "libx264",
        options={**(VP9_OPTIONS if is_vp9 else H264_OPTIONS), "crf": str(quality)},
        width=size[0],
        height=size[1],
        planes=PlaneFormat(depth, subsampling),
        tags=properties.tags,
        pixel_aspect=properties.pixel_aspect,
        time_base=properties.time_base,
        rate=properties.rate,
        notices=notices,
    )


def properties_of_pictures(rate: Fraction) -> VideoProperties:
    """Return the properties of a video made of pictures."""
    return VideoProperties(ColourTags(BT_709, BT_709, SRGB, False), True, 8, (1, 1), None, 1 / rate, rate)
