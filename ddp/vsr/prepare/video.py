"""Decoding of a video file or a folder of numbered images as a stream of frames. Never keeps more than one frame.

Frames are upright (the container's rotation is applied) 8-bit RGB. A damaged file is used up to the damage, which is
raised as `DamagedVideoError` after the last good frame. Never writes, and never decides how a frame is used.

Legend: H, W = a frame's height and width; frames are counted from 0 in decoding order.
"""

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray
from PIL import Image

from service.errors import UserError

VIDEO_SUFFIXES = frozenset({".avi", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"})
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
IMAGES_PER_SECOND = 25.0  # assumed rate of a folder of images
THUMBNAIL_WIDTH, THUMBNAIL_HEIGHT = 64, 36

Frame = NDArray[np.uint8]  # (H, W, 3)
Thumbnail = NDArray[np.float32]  # (36, 64), grey, 0…255


class DamagedVideoError(Exception):
    """The stream is damaged here, after good frames. The message is the cause, without the file's name."""


@dataclass(frozen=True)
class Source:
    """A video file, or a folder of images that are the frames of a video in the order of their numbers."""

    name: str
    path: Path

    @property
    def is_sequence(self) -> bool:
        """Whether the frames are image files."""
        return self.path.is_dir()

    def files(self) -> list[Path]:
        """Return the files with the frames, in order."""
        return _images_in(self.path) if self.is_sequence else [self.path]


def find_sources(folder: Path, exclude: Path | None = None) -> tuple[Source, ...]:
    """Return all video files below `folder`, and all folders of at least two images and no video, sorted by path.

    Hidden entries and everything below `exclude` are skipped. Raises UserError if nothing is found.
    """
    if not folder.is_dir():
        raise UserError(f"the folder of videos {folder} does not exist: give a folder with videos or image sequences")
    found: list[Path] = []
    for inside in [folder, *sorted(path for path in folder.rglob("*") if path.is_dir())]:
        if not _is_excluded(inside, folder, exclude):
            found += _sources_in(inside)
    if not found:
        raise UserError(
            f"{folder} holds no video ({', '.join(sorted(VIDEO_SUFFIXES))}) and no folder of at least two images"
        )
    return tuple(Source(path.name if path == folder else path.relative_to(folder).as_posix(), path) for path in found)


def read_frames(
    source: Source, wanted: Collection[int] | None = None, halve_from: int = 0
) -> Iterator[tuple[int, Frame]]:
    """Yield (number, frame (H, W, 3) uint8) for the wanted frames, or for all; stop decoding after the last one.

    A frame whose shorter side has at least `halve_from` pixels (0: never) is halved by area averaging, which removes
    the block noise of strongly compressed video. Raises DamagedVideoError at a damage.
    """
    last = max(wanted, default=-1) if wanted is not None else None
    if last == -1:
        return
    frames = _image_frames(source, halve_from) if source.is_sequence else _video_frames(source.path, halve_from)
    for number, convert in enumerate(frames):
        if wanted is None or number in wanted:
            yield number, convert()
        if number == last:
            return


def read_thumbnails(source: Source) -> Iterator[Thumbnail]:
    """Yield every frame as a small grey image, without converting the full frame of a video to RGB.

    Raises DamagedVideoError at a damage.
    """
    if source.is_sequence:
        for image in _images(source):
            grey = image.convert("L").resize((THUMBNAIL_WIDTH, THUMBNAIL_HEIGHT), Image.Resampling.BOX)
            yield np.asarray(grey, dtype=np.float32)
        return
    for frame in _decode(source.path):
        small = frame.reformat(THUMBNAIL_WIDTH, THUMBNAIL_HEIGHT, "gray", interpolation=Interpolation.AREA)
        yield small.to_ndarray().astype(np.float32)


def frames_per_second(source: Source) -> float:
    """Return the stream's average rate; 25 if it has none. Raises DamagedVideoError if the file cannot be opened."""
    if source.is_sequence:
        return IMAGES_PER_SECOND
    try:
        with av.open(str(source.path)) as container:
            rate: Fraction | None = container.streams.video[0].average_rate if container.streams.video else None
    except (av.FFmpegError, OSError) as error:
        raise DamagedVideoError(_text_of(error)) from error
    return float(rate) if rate else IMAGES_PER_SECOND


def _is_excluded(path: Path, root: Path, exclude: Path | None) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    return hidden or (exclude is not None and path.resolve().is_relative_to(exclude.resolve()))


def _sources_in(folder: Path) -> list[Path]:
    videos = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file() and not path.name.startswith(".")
    )
    # A folder of videos may contain a cover image, which is no sequence.
    return videos or ([folder] if len(_images_in(folder)) > 1 else [])


def _images_in(folder: Path) -> list[Path]:
    images = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != ".")
    return sorted(images, key=_number_order)


def _number_order(path: Path) -> list[tuple[int, str]]:
    """Return a sort key by which frame_2 precedes frame_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _decode(path: Path) -> Iterator[Any]:
    """Yield PyAV's frames. Raises DamagedVideoError for any error before the end of the stream."""
    size: tuple[int, int] | None = None
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DamagedVideoError("the file holds no video stream")
            container.streams.video[0].thread_type = "AUTO"
            for frame in container.decode(video=0):
                size = size or (frame.width, frame.height)
                _check_frame(frame, size)
                yield frame
    except (av.FFmpegError, OSError) as error:
        raise DamagedVideoError(_text_of(error)) from error


def _check_frame(frame: Any, size: tuple[int, int]) -> None:
    if frame.is_corrupt:
        raise DamagedVideoError("the decoder marked a frame as corrupt")
    if (frame.width, frame.height) != size:
        raise DamagedVideoError(f"the frame size changes from {size[0]}x{size[1]} to {frame.width}x{frame.height}")


def _video_frames(path: Path, halve_from: int) -> Iterator[Callable[[], Frame]]:
    """Yield one converter per decoded frame, so that unwanted frames are not converted."""
    for frame in _decode(path):
        yield lambda frame=frame: _to_rgb(frame, halve_from)  # type: ignore[misc]  # mypy cannot type a default here


def _to_rgb(frame: Any, halve_from: int) -> Frame:
    divisor = _divisor(frame.height, frame.width, halve_from)
    # At full size the method only affects the chroma planes, which area averaging would leave blocky.
    method = Interpolation.AREA if divisor > 1 else Interpolation.BILINEAR
    small = frame.reformat(frame.width // divisor, frame.height // divisor, "rgb24", interpolation=method)
    quarter_turns = round(frame.rotation / 90)  # counter-clockwise, as rot90 counts
    return np.ascontiguousarray(np.rot90(small.to_ndarray(), quarter_turns))


def _divisor(height: int, width: int, halve_from: int) -> int:
    return 2 if 0 < halve_from <= min(height, width) else 1


def _image_frames(source: Source, halve_from: int) -> Iterator[Callable[[], Frame]]:
    for image in _images(source):
        divisor = _divisor(image.height, image.width, halve_from)
        yield lambda image=image, divisor=divisor: np.asarray(image.convert("RGB").reduce(divisor))  # type: ignore[misc]


def _images(source: Source) -> Iterator[Image.Image]:
    """Yield the decoded images. Raises DamagedVideoError for an unreadable one or one of another size."""
    size: tuple[int, int] | None = None
    for path in source.files():
        try:
            with Image.open(path) as image:
                image.load()
        except (OSError, SyntaxError, ValueError) as error:
            raise DamagedVideoError(f"{path.name}: {_text_of(error)}") from error
        size = size or image.size
        if image.size != size:
            raise DamagedVideoError(f"{path.name} is {image.size[0]}x{image.size[1]}, those before {size[0]}x{size[1]}")
        yield image


def _text_of(error: Exception) -> str:
    """Return the system's message of an error, without the path, which the caller adds."""
    return getattr(error, "strerror", None) or str(error)
