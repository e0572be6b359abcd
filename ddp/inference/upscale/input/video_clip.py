"""A video file as a clip: looked through once before the work begins, so that bad input is found before hours of it.

Frames are upright, deinterlaced 8-bit RGB; each has the time at which it is shown.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from ddp.inference.upscale.input.clip import InputFrame
from ddp.vsr.prepare.frames.colours import BT_709, ColourTags, RgbConverter, is_hdr, is_transposed, tags_of
from ddp.vsr.prepare.frames.deinterlace import progressive
from ddp.vsr.prepare.frames.hdr import NAMES
from ddp.vsr.prepare.frames.pixels import bits_of, is_rgb, is_without_chroma
from ddp.vsr.prepare.scenes import survey
from ddp.vsr.prepare.sources import Source
from ddp.vsr.prepare.video import DamagedVideoError, checked_frames, opened_video, shown_stream
from ddp.vsr.unreadable import Skipped
from service.errors import UserError

SDR_TAGS = ColourTags(BT_709, BT_709, BT_709, is_full_range=False)
"""Of what HDR is mapped to."""
ASSUMED_RATE = Fraction(25)
FINEST_TIME_BASE = Fraction(1, 1_000_000)


@dataclass(frozen=True)
class VideoProperties:
    """How a video is to be shown, beside its pixels.

    `subsampling` is the chroma's share in width and height, such as (2, 2); `pixel_aspect` the width of a pixel as a
    multiple of its height, None if it is not said.
    """

    tags: ColourTags
    is_rgb: bool
    depth_bits: int
    subsampling: tuple[int, int]
    pixel_aspect: Fraction | None
    time_base: Fraction
    rate: Fraction


class VideoClip:
    """A video's frames and properties; `missing` says why the file is not whole, empty if it is."""

    def __init__(self, path: Path, *, until_damage: bool = False, maps_hdr: bool = False) -> None:
        """Look through the video.

        Raises `UserError` if it cannot be used, is damaged without `until_damage`, or is HDR without `maps_hdr`.
        """
        self.name = str(path)
        self.path = path
        self.skipped: Sequence[Skipped] = ()
        source = Source(path.name, path)
        try:
            found = survey(source, maps_hdr=maps_hdr)
            missing = found.damage
            self._hdr_peak = found.hdr_peak
            self.properties = properties_of(path, maps_hdr)
        except DamagedVideoError as error:
            way_out = ", or give --map-hdr" if any(name in str(error) for name in NAMES.values()) else ""
            raise UserError(f"{path} cannot be upscaled: {error}{way_out}") from error
        if missing and not until_damage:
            raise UserError(
                f"{path} is damaged after frame {found.frame_count - 1} ({missing}), so nothing was written: get a "
                "whole file, or give --until-damage to upscale what there is"
            )
        self.notices: Sequence[str] = [
            *([f"{path} is damaged ({missing}): upscaled up to frame {found.frame_count - 1}"] if missing else []),
            *([f"{path} is interlaced: the output is not, and has one frame for each"] if found.deinterlaced else []),
            *([f"{path} is HDR: mapped to SDR from {self._hdr_peak:.0f} cd/m²"] if self._hdr_peak else []),
        ]
        self.frame_count = found.frame_count
        self.scenes: Sequence[range] = [
            range(scene.first_frame, scene.first_frame + scene.frame_count) for scene in found.scenes
        ]

    def frames(self, first: int) -> Iterator[InputFrame]:
        """Yield the frames from number `first` on, at most `frame_count`. Raises `UserError`."""
        try:
            yield from self._frames(first)
        except DamagedVideoError as error:
            raise UserError(f"{self.name} could be read before, but not now: {error}") from error

    def _frames(self, first: int) -> Iterator[InputFrame]:
        converter, clock = RgbConverter(self._hdr_peak), _Clock(self.properties.rate)
        with opened_video(self.path) as container:
            stream = shown_stream(container)
            start = _start_of(container, stream)
            checked = checked_frames(container.decode(stream), maps_hdr=self._hdr_peak is not None)
            frames = progressive(checked)
            for number, (frame, _) in enumerate(frames):
                time = clock.time_of(frame, start)
                if number >= first:
                    yield InputFrame(number, converter.convert(frame), time)
                if number == self.frame_count - 1:
                    return
        raise DamagedVideoError("it holds fewer frames now")

    def identity(self) -> dict[str, Any]:
        """Return the file's name, size in bytes and time of change, and for HDR the light from which it is mapped."""
        status = self.path.stat()
        video = [str(self.path.resolve()), status.st_size, status.st_mtime_ns]
        mapped = {} if self._hdr_peak is None else {"hdr_peak": self._hdr_peak}
        return {"video": video, "frames": self.frame_count, **mapped}


class _Clock:
    """Frame times that always increase: frames without a time, or with one that goes back, follow at the usual rate."""

    def __init__(self, rate: Fraction) -> None:
        self._step = 1 / rate
        self._last: Fraction | None = None

    def time_of(self, frame: Any, start: Fraction) -> Fraction:
        own = None if frame.pts is None or not frame.time_base else frame.pts * frame.time_base - start
        last = self._last
        if own is None or (last is not None and own <= last):
            own = Fraction(0) if last is None else last + self._step
        self._last = own
        return own


def start_of(path: Path) -> Fraction:
    """Return the time at which the file begins, in seconds, which the output takes as 0. Raises DamagedVideoError."""
    with opened_video(path) as container:
        return _start_of(container, shown_stream(container))


def _start_of(container: Any, stream: Any) -> Fraction:
    """Return the start in whole ticks of the video stream; files that begin before 0 are left as they are."""
    if not container.start_time or container.start_time < 0:
        return Fraction(0)
    seconds = Fraction(container.start_time, 1_000_000)
    return round(seconds / stream.time_base) * stream.time_base


def properties_of(path: Path, maps_hdr: bool = False) -> VideoProperties:
    """Return the properties by the first frame; of HDR those of the SDR that it becomes. Raises DamagedVideoError."""
    with opened_video(path) as container:
        stream = shown_stream(container)
        frame = next(checked_frames(container.decode(stream), maps_hdr), None)
        if frame is None:
            raise DamagedVideoError("it holds no frame")
        aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
        if aspect and is_transposed(frame):
            aspect = 1 / aspect
        return VideoProperties(
            tags=SDR_TAGS if is_hdr(frame) else tags_of(frame),
            is_rgb=is_rgb(frame),
            depth_bits=bits_of(frame),
            subsampling=_subsampling_of(frame),
            pixel_aspect=aspect or None,
            time_base=max(stream.time_base or 1 / ASSUMED_RATE, FINEST_TIME_BASE),
            rate=stream.average_rate or stream.guessed_rate or ASSUMED_RATE,
        )


def _subsampling_of(frame: Any) -> tuple[int, int]:
    if is_rgb(frame):
        return 1, 1
    if is_without_chroma(frame):
        return 2, 2  # grey has no chroma: any will do
    return 16 // frame.format.chroma_width(16), 16 // frame.format.chroma_height(16)
