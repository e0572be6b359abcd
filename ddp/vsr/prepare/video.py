"""Decoding of a video file or a folder of numbered images as a stream of frames. Never keeps more than one frame.

Frames are upright 8-bit RGB, converted by `colours`, and deinterlaced. A damaged video is used up to the damage, which
is raised as `DamagedVideoError` after the last good frame; of a folder of images only the damaged ones are lost. Never
writes, and never decides how a frame is used.

Legend: H, W = a frame's height and width; frames are counted from 0 in decoding order.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video import VideoStream
from av.video.reformatter import Interpolation
from numpy.typing import NDArray
from PIL import Image

from ddp.vsr.pictures import read_picture
from ddp.vsr.prepare.frames.colours import (
    Frame,
    RgbConverter,
    UnknownColoursError,
    box_mean,
    brightness_of,
    colours_of,
)
from ddp.vsr.prepare.frames.deinterlace import CannotDeinterlaceError, progressive
from ddp.vsr.prepare.sources import Source
from ddp.vsr.unreadable import UNREADABLE, Skipped, UnreadableFileError, reason_of, require_content

IMAGES_PER_SECOND = 25.0  # assumed rate of a folder of images
THUMBNAIL_WIDTH, THUMBNAIL_HEIGHT = 64, 36

Converted = TypeVar("Converted")

DECODER_THREADS: ContextVar[int] = ContextVar("decoder_threads", default=0)
"""Threads of a decoder; 0 takes all cores, which is too many where several processes decode."""

UNDECODABLE: tuple[type[Exception], ...] = (av.FFmpegError, *UNREADABLE)


LISTS = frozenset({"concat", "dash", "hls", "imf"})
"""ffmpeg's names of files that hold names of others, which it would open."""


class DamagedVideoError(Exception):
    """The stream is damaged here, after good frames. The message is the cause, without the file's name."""


@dataclass(frozen=True)
class Thumbnail:
    """A frame as a small grey image, (36, 64), 0…255; the frame's size (width, height); its file in a sequence.

    `is_deinterlaced`: the frame held two moments and became one. `hdr_peak`: cd/m² of its brightest spot, 0 for SDR.
    """

    grey: NDArray[np.float32]
    size: tuple[int, int]
    name: str = ""
    is_deinterlaced: bool = False
    hdr_peak: float = 0.0


def read_frames(
    source: Source, wanted: Collection[int] | None = None, halve_from: int = 0, hdr_peak: float | None = None
) -> Iterator[tuple[int, Frame]]:
    """Yield (number, frame (H, W, 3) uint8) for the wanted frames, or for all; stop decoding after the last one.

    A frame whose shorter side has at least `halve_from` pixels (0: never) is halved by the box mean, which removes the
    block noise of strongly compressed video. HDR is mapped to SDR from its brightest light, `hdr_peak` cd/m². Raises
    DamagedVideoError at a damage, and for HDR without `hdr_peak`.
    """
    if source.is_sequence:
        yield from _image_frames(source, wanted, halve_from)
    else:
        converter, maps_hdr = RgbConverter(hdr_peak), hdr_peak is not None
        yield from _decode(source.path, lambda frame, _: _to_rgb(converter, frame, halve_from), wanted, maps_hdr)


def read_thumbnails(source: Source, maps_hdr: bool = False) -> Iterator[Thumbnail | Skipped]:
    """Yield every frame as a small grey image, without converting the full frame of a video to RGB.

    An image of a sequence that cannot be read is yielded as `Skipped`. Raises DamagedVideoError at the damage of a
    video, or if the folder of a sequence cannot be read; for HDR unless `maps_hdr`.
    """
    if source.is_sequence:
        yield from map(thumbnail_of_image, _files(source))
    else:
        yield from (thumbnail for _, thumbnail in _decode(source.path, _thumbnail_of_frame, maps_hdr=maps_hdr))


def frames_per_second(source: Source) -> float:
    """Return the stream's average rate; 25 if it has none. Raises DamagedVideoError if there is no video."""
    if source.is_sequence:
        return IMAGES_PER_SECOND
    with opened_video(source.path) as container:
        rate: Fraction | None = shown_stream(container).average_rate
    return float(rate) if rate else IMAGES_PER_SECOND


def expected_frame_count(source: Source) -> int:
    """Return how many frames there will be, by what the container says: to show progress only. 0 if it says nothing."""
    with suppress(DamagedVideoError, OSError):
        if source.is_sequence:
            return len(source.files())
        with opened_video(source.path) as container:
            stream = shown_stream(container)
            seconds = float((container.duration or 0) / av.time_base)
            return stream.frames or round(seconds * float(stream.average_rate or 0))
    return 0


def describe_colours(source: Source, maps_hdr: bool = False) -> str:
    """Return how the first frame's colours are taken; `RGB` for images. Raises DamagedVideoError."""
    if source.is_sequence:
        return "RGB"
    for _, colours in _decode(source.path, lambda frame, _: colours_of(frame, maps_hdr), {0}, maps_hdr):
        return colours
    raise DamagedVideoError("it holds no frame")


@contextmanager
def opened_video(path: Path) -> Iterator[InputContainer]:
    """Open a video; every error of reading it within the block becomes DamagedVideoError."""
    try:
        require_content(path)
        with _container(path) as container:
            yield container
    except (UnreadableFileError, UnknownColoursError, CannotDeinterlaceError) as error:
        raise DamagedVideoError(str(error)) from error
    except UNDECODABLE as error:
        raise DamagedVideoError(_reason_of(error)) from error


def _container(path: Path) -> InputContainer:
    """Open a file. Raises DamagedVideoError if its beginning is no video's, or other errors of PyAV."""
    try:
        # Metadata may be in any encoding, and none of it is used. A relative name with a colon would be an address.
        container = av.open(str(path.absolute()), metadata_errors="replace")
    except (FileNotFoundError, PermissionError, MemoryError):
        raise
    except av.FFmpegError:  # of the many causes, none says more
        raise DamagedVideoError("it is no video, or so much of it is missing that it cannot be opened") from None
    if LISTS & set(container.format.name.split(",")):
        container.close()
        raise DamagedVideoError("it is a list of other files, no video")
    return container


def _reason_of(error: Exception) -> str:
    """Return the cause of an error of `UNDECODABLE`, without number and path."""
    if isinstance(error, av.InvalidDataError):
        return "its data is damaged"
    return error.strerror if isinstance(error, av.FFmpegError) and error.strerror else reason_of(error)


def _decode(
    path: Path,
    convert: Callable[[Any, bool], Converted],
    wanted: Collection[int] | None = None,
    maps_hdr: bool = False,
) -> Iterator[tuple[int, Converted]]:
    """Yield number and converted frame of the wanted frames, or of all, and decode no more after the last one.

    `convert` gets the frame and whether it is deinterlaced. Raises DamagedVideoError for any error before.
    """
    last = max(wanted, default=-1) if wanted is not None else None
    if last == -1:
        return
    with opened_video(path) as container:
        frames = checked_frames(container.decode(shown_stream(container)), maps_hdr)
        for number, (frame, is_deinterlaced) in enumerate(progressive(frames)):
            if wanted is None or number in wanted:
                yield number, convert(frame, is_deinterlaced)
            if number == last:
                return


def shown_stream(container: InputContainer) -> VideoStream:
    """Return the stream that a player shows. Raises DamagedVideoError if there is none but a cover picture."""
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream):
        raise DamagedVideoError("the file holds no video stream")
    if stream.disposition & Disposition.attached_pic:
        raise DamagedVideoError("the file holds no video stream, only a cover picture")
    if stream.codec_context is None:
        raise DamagedVideoError("there is no decoder for its video")
    stream.thread_type = "AUTO"
    stream.codec_context.thread_count = DECODER_THREADS.get()
    return stream


def checked_frames(frames: Iterable[Any], maps_hdr: bool = False) -> Iterator[Any]:
    """Yield the frames up to the first that cannot be used, for which DamagedVideoError is raised."""
    size: tuple[int, int] | None = None
    for frame in frames:
        size = size or (frame.width, frame.height)
        if frame.is_corrupt:
            raise DamagedVideoError("the decoder marked a frame as corrupt")
        if (frame.width, frame.height) != size:
            raise DamagedVideoError(f"the frame size changes from {size[0]}x{size[1]} to {frame.width}x{frame.height}")
        colours_of(frame, maps_hdr)
        yield frame


def _thumbnail_of_frame(frame: Any, is_deinterlaced: bool) -> Thumbnail:
    small = frame.reformat(THUMBNAIL_WIDTH, THUMBNAIL_HEIGHT, "gray", interpolation=Interpolation.AREA)
    grey, size = small.to_ndarray().astype(np.float32), (frame.width, frame.height)
    return Thumbnail(grey, size, "", is_deinterlaced, brightness_of(frame))


def _to_rgb(converter: RgbConverter, frame: Any, halve_from: int) -> Frame:
    return converter.convert(frame, _divisor(frame.height, frame.width, halve_from))


def _divisor(height: int, width: int, halve_from: int) -> int:
    return 2 if 0 < halve_from <= min(height, width) else 1


def _files(source: Source) -> list[Path]:
    """Return the files of a sequence. Raises DamagedVideoError if its folder cannot be read."""
    try:
        return source.files()
    except OSError as error:
        raise DamagedVideoError(reason_of(error)) from error


def _image_frames(source: Source, wanted: Collection[int] | None, halve_from: int) -> Iterator[tuple[int, Frame]]:
    """Yield the wanted images. Raises DamagedVideoError for an unreadable one or one of another size."""
    size: tuple[int, int] | None = None
    for number, path in enumerate(_files(source)):
        if wanted is not None and number not in wanted:
            continue
        try:
            picture = read_picture(path)
        except UnreadableFileError as error:
            raise DamagedVideoError(f"{path.name}: {error}") from error
        height, width = picture.shape[:2]
        size = size or (width, height)
        if (width, height) != size:
            raise DamagedVideoError(f"{path.name} is {width}x{height}, those before {size[0]}x{size[1]}")
        yield number, np.ascontiguousarray(box_mean(picture, _divisor(height, width, halve_from)))


def thumbnail_of_image(path: Path) -> Thumbnail | Skipped:
    """Return an image file as a thumbnail, or why it cannot be read."""
    try:
        image = Image.fromarray(read_picture(path))
    except UnreadableFileError as error:
        return Skipped(path.name, str(error))
    grey = image.convert("L").resize((THUMBNAIL_WIDTH, THUMBNAIL_HEIGHT), Image.Resampling.BOX)
    return Thumbnail(np.asarray(grey, dtype=np.float32), image.size, path.name)
