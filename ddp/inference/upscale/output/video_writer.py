"""Writes a video: segments while frames come, then one file with the sound, verified before it gets its name."""

import heapq
import os
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from torch import Tensor

from ddp.inference.upscale.input.clip import InputFrame
from ddp.inference.upscale.output.job_folder import JobFolder
from ddp.inference.upscale.output.segments import CONTAINER, Segment, packets_of, saved_segments
from ddp.inference.upscale.output.sound import OtherStreams
from ddp.inference.upscale.output.video_format import VideoFormat
from service.atomic_files import move_without_replacing, sync_folder
from service.errors import UserError

SEGMENT_FRAMES = 240
SEGMENT_SECONDS = 60.0
"""A segment ends after this many frames or seconds of work, whichever comes first: so much is lost by a kill."""


class VideoWriter:
    """Writes one video file."""

    def __init__(
        self,
        job: JobFolder,
        target: Path,
        video: VideoFormat,
        others: OtherStreams | None,
        start: Fraction,
        *,
        replaces: bool,
    ) -> None:
        """`start` is the time of the input that is 0 in the output, in seconds."""
        self._job = job
        self._target = target
        self._format = video
        self._others = others
        self._start = start
        self._replaces = replaces
        _, self.done_count = saved_segments(job.path)
        self._next = self.done_count
        self._segment: Segment | None = None
        self._begun_at = 0.0

    def add(self, frame: InputFrame, picture: Tensor) -> None:
        """Encode the next frame."""
        if self._segment is None:
            self._segment, self._begun_at = Segment(self._format, self._next), time.monotonic()
        self._segment.add(picture, frame.time)
        self._next += 1
        if self._segment.count >= SEGMENT_FRAMES or time.monotonic() >= self._begun_at + SEGMENT_SECONDS:
            self.save()

    def save(self) -> None:
        """Save the segment that has been begun."""
        segment, self._segment = self._segment, None
        if segment is not None:
            segment.save(self._job.path)

    def finish(self) -> None:
        """Join the segments with the other streams and put the file in place."""
        self.save()
        made = self._job.path / f"whole{self._target.suffix}"
        with made.open("wb+") as file:
            self._join(file)
            file.flush()
            os.fsync(file.fileno())
        _verify(made, self._next)
        if self._replaces:
            made.replace(self._target)
        else:
            move_without_replacing(made, self._target)
        sync_folder(self._target.parent)

    def _join(self, file: Any) -> None:
        segments, _ = saved_segments(self._job.path)
        with (
            av.open(str(segments[0]), format=CONTAINER) as first,
            av.open(file, "w", format=self._format.container) as container,
        ):
            stream = container.add_stream_from_template(first.streams.video[0])
            stream.time_base = self._format.time_base
            if self._format.pixel_aspect:
                stream.sample_aspect_ratio = self._format.pixel_aspect
            copies = self._others.copy_into(container) if self._others else {}
            video = _with_durations(packets_of(segments), stream, self._format)
            others = self._others.packets(self._start, copies) if self._others else iter(())
            for packet in _by_time(video, others):
                container.mux(packet)


def _with_durations(packets: Iterator[Any], stream: Any, video: VideoFormat) -> Iterator[Any]:
    """Yield the packets for an output stream, each with the time to the next as its duration; the last as usual."""
    waiting = None
    for packet in packets:
        packet.stream = stream
        if waiting is not None:
            waiting.duration = packet.pts - waiting.pts
            yield waiting
        waiting = packet
    if waiting is not None:
        waiting.duration = max(1, round(1 / (video.rate * waiting.time_base)))
        yield waiting


def _by_time(*streams: Iterator[Any]) -> Iterator[Any]:
    """Merge packets in the order of their times; one without a time follows the one before it."""
    yield from (packet for _, packet in heapq.merge(*map(_timed, streams), key=lambda pair: pair[0]))


def _timed(packets: Iterator[Any]) -> Iterator[tuple[Fraction, Any]]:
    now = Fraction(-(2**40))
    for packet in packets:
        time_ticks = packet.dts if packet.dts is not None else packet.pts
        now = now if time_ticks is None else max(now, time_ticks * packet.time_base)
        yield now, packet


def _verify(path: Path, frame_count: int) -> None:
    """Raise `UserError` unless the file can be opened and holds all frames."""
    with av.open(str(path)) as container:
        count = sum(1 for packet in container.demux(video=0) if packet.size)
    if count != frame_count:
        raise UserError(f"the output was not written whole ({count} of {frame_count} frames): give the command again")
