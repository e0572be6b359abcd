"""Parts of the output video: encoded in memory, saved whole, joined later. What a killed work has saved is not lost.

JOB/segment_<first frame>_<number of frames>.nut
"""

import io
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ddp.inference.upscale.output.planes import planes_of
from ddp.inference.upscale.output.video_format import VideoFormat
from service.atomic_files import write_atomically

CONTAINER = "nut"  # keeps any time base
_NAME = re.compile(r"segment_([0-9]{9})_([0-9]{9})\.nut")


class Segment:
    """Consecutive frames that are encoded together, beginning with a key frame."""

    def __init__(self, video: VideoFormat, first: int) -> None:
        """Begin with the frame of number `first`."""
        self._format = video
        self._first = first
        self._file = io.BytesIO()
        self._container = av.open(self._file, "w", format=CONTAINER)
        self._stream: Any = self._container.add_stream(video.codec, options=dict(video.options))
        video.set_up(self._stream)
        self.count = 0

    def add(self, picture: Tensor, time: Fraction) -> None:
        """Encode a picture, (3, H, W) in 0…1, shown at `time` in seconds."""
        frame = _frame_of(picture, self._format)
        frame.time_base = self._format.time_base
        frame.pts = round(time / self._format.time_base)
        for packet in self._stream.encode(frame):
            self._container.mux(packet)
        self.count += 1

    def save(self, folder: Path) -> None:
        """Finish the segment and write it into a folder durably. Raises `OSError`."""
        for packet in self._stream.encode():
            self._container.mux(packet)
        self._container.close()
        write_atomically(folder / f"segment_{self._first:09d}_{self.count:09d}.nut", self._file.getvalue())


def saved_segments(folder: Path) -> tuple[list[Path], int]:
    """Return the segments that follow each other from frame 0 on, and how many frames they hold."""
    by_first = {int(match[1]): path for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))}
    segments: list[Path] = []
    count = 0
    while path := by_first.get(count):
        segments.append(path)
        count += int(path.stem.rpartition("_")[2])
    return segments, count


def packets_of(segments: list[Path]) -> Iterator[Any]:
    """Yield the packets of segments in order, as if they were of one file."""
    for path in segments:
        with av.open(str(path), format=CONTAINER) as container:
            for packet in container.demux(container.streams.video[0]):
                if packet.size:
                    yield packet


def _frame_of(picture: Tensor, video: VideoFormat) -> av.VideoFrame:
    frame = av.VideoFrame(video.width, video.height, video.pixel_format)
    sample = np.dtype(np.uint8 if video.planes.depth_bits == 8 else "<u2")
    planes: Any = frame.planes  # buffers, which the types do not say
    for plane, values in zip(planes, planes_of(picture, video.tags, video.planes), strict=True):
        rows: NDArray[Any] = np.frombuffer(plane, sample).reshape(-1, plane.line_size // sample.itemsize)
        rows[: values.shape[0], : values.shape[1]] = values.cpu().numpy()
    frame.colorspace = video.tags.matrix
    frame.color_range = 2 if video.tags.is_full_range else 1
    return frame
