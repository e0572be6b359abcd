"""The other streams of a video, sound and subtitles: taken over as they are, packet by packet, without decoding."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from ddp.inference.upscale.output.video_format import VideoFormat
from ddp.vsr.prepare.video import DamagedVideoError, opened_video
from service.errors import UserError

TAKEN_OVER = ("audio", "subtitle")
DROPPED_METADATA = frozenset({"encoder", "major_brand", "minor_version", "compatible_brands", "duration"})


@dataclass(frozen=True)
class OtherStreams:
    """The numbers of the streams of `path` that the output keeps, and sentences about those that it cannot."""

    path: Path
    indexes: tuple[int, ...] = ()
    notices: tuple[str, ...] = ()

    def copy_into(self, container: Any) -> dict[int, Any]:
        """Make streams of the same kind in an output container; return them by their number in the input."""
        with opened_video(self.path) as source:
            container.metadata.update(_kept(source.metadata))
            return {index: _copied(source.streams[index], container) for index in self.indexes}

    def packets(self, start: Fraction, copies: Mapping[int, Any]) -> Iterator[Any]:
        """Yield the packets in the file's order, `start` seconds earlier, for those streams; end at a damage."""
        try:
            with opened_video(self.path) as source:
                for packet in source.demux([source.streams[index] for index in self.indexes]):
                    if packet.size:
                        _shift(packet, start)
                        packet.stream = copies[packet.stream.index]
                        yield packet
        except DamagedVideoError:
            return


def other_streams(path: Path, video: VideoFormat, suffix: str) -> OtherStreams:
    """Return the streams that a container can keep. Raises `UserError` if it cannot keep the sound."""
    with opened_video(path) as source:
        found = [(stream.index, stream.type, _codec_of(stream)) for stream in source.streams]
    kept: list[int] = []
    notices = []
    for index, kind, codec in found:
        if kind not in TAKEN_OVER:
            continue
        if _is_possible(path, video, [*kept, index]):
            kept.append(index)
        elif kind == "audio":
            raise UserError(
                f"the sound of {path} ({codec}) cannot be kept in {suffix}: name OUT with .mkv, or give --no-sound"
            )
        else:
            notices.append(f"subtitles ({codec}) cannot be kept in {suffix} and are left out: .mkv could keep them")
    return OtherStreams(path, tuple(kept), tuple(notices))


def _is_possible(path: Path, video: VideoFormat, indexes: Sequence[int]) -> bool:
    """Whether a container of this kind can be begun with these streams."""
    try:
        with av.open(io.BytesIO(), "w", format=video.container) as container:
            video.set_up(container.add_stream(video.codec, options=dict(video.options)))
            OtherStreams(path, tuple(indexes)).copy_into(container)
            container.start_encoding()
    except (av.FFmpegError, ValueError, DamagedVideoError):
        return False
    return True


def _copied(stream: Any, container: Any) -> Any:
    copy = container.add_stream_from_template(stream)
    copy.metadata.update(_kept(stream.metadata))
    return copy


def _kept(metadata: Any) -> dict[str, str]:
    return {key: value for key, value in metadata.items() if key.lower() not in DROPPED_METADATA}


def _codec_of(stream: Any) -> str:
    return stream.codec_context.name if stream.codec_context is not None else "an unknown codec"


def _shift(packet: Any, start: Fraction) -> None:
    ticks = round(start / packet.time_base)
    packet.pts = None if packet.pts is None else packet.pts - ticks
    packet.dts = None if packet.dts is None else packet.dts - ticks
