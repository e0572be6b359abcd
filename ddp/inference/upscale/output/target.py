"""The output that a person names: whether it can be made of the input, in which format, and who writes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from ddp.inference.upscale.input.clip import Clip
from ddp.inference.upscale.input.picture_clip import PictureClip
from ddp.inference.upscale.input.video_clip import VideoClip, start_of
from ddp.inference.upscale.output.job_folder import JobFolder
from ddp.inference.upscale.output.picture_writer import FORMATS, FolderWriter, PictureWriter
from ddp.inference.upscale.output.sound import OtherStreams, other_streams
from ddp.inference.upscale.output.video_format import CONTAINERS, VideoFormat, format_for, properties_of_pictures
from ddp.inference.upscale.output.video_writer import VideoWriter
from ddp.inference.upscale.output.writer import Writer
from service.errors import UserError


@dataclass(frozen=True)
class Output:
    """What will be written; the format and the other streams of a video, None for pictures.

    `start` is the time of the input that becomes 0, in seconds.
    """

    target: Path
    replaces: bool = False
    video: VideoFormat | None = None
    others: OtherStreams | None = None
    start: Fraction = Fraction(0)

    def identity(self) -> dict[str, Any]:
        """Return plain values that differ for another output."""
        return {"output": self.target.name, "video": None if self.video is None else repr(self.video)}

    def notices(self) -> Sequence[str]:
        """Return sentences about what people may not expect."""
        return [*(self.video.notices if self.video else ()), *(self.others.notices if self.others else ())]

    def writer(self, job: JobFolder) -> Writer:
        """Return who writes it."""
        if self.video is not None:
            return VideoWriter(job, self.target, self.video, self.others, self.start, replaces=self.replaces)
        if self.target.suffix:
            return PictureWriter(self.target, replaces=self.replaces)
        return FolderWriter(job, self.target)


def check_target(source: Path, target: Path, *, replaces: bool) -> None:
    """Raise `UserError` for an output that cannot be made, before anything is read."""
    suffix = target.suffix.lower()
    if suffix and suffix not in CONTAINERS and suffix not in FORMATS:
        known = ", ".join((*CONTAINERS, *FORMATS))
        raise UserError(f"{target} cannot be written as {suffix}: take one of {known}, or no suffix for a folder")
    if suffix in FORMATS and source.is_dir():
        raise UserError(f"{target} is one picture, but {source} is a folder: give OUT a video's suffix, or none")
    if not target.absolute().parent.is_dir():
        raise UserError(f"{target.absolute().parent} is no folder: make it, or name another output")
    if target.exists() and source.exists() and target.samefile(source):
        raise UserError(f"{target} is the input itself: name another output")
    is_free = not any(target.iterdir()) and not suffix if target.is_dir() else replaces and bool(suffix)
    if target.exists() and not is_free:
        raise UserError(exists_sentence(target))


def exists_sentence(target: Path) -> str:
    """Return what to say of an output that exists."""
    return f"{target} exists already: name another output, remove it, or give --replace for a file"


def output_for(clip: Clip, target: Path, scale: int, *, quality: int, replaces: bool, with_sound: bool) -> Output:
    """Return how the output is written. Raises `UserError` if a clip does not fit into such a file."""
    suffix = target.suffix.lower()
    if suffix in CONTAINERS:
        return _video_output(clip, target, scale, quality=quality, replaces=replaces, with_sound=with_sound)
    if suffix and clip.frame_count > 1:
        count = f"{clip.name} has {clip.frame_count} frames"
        raise UserError(f"{target} is one picture, but {count}: give OUT a video's suffix, or none for a folder")
    return Output(target, replaces)


def _video_output(clip: Clip, target: Path, scale: int, *, quality: int, replaces: bool, with_sound: bool) -> Output:
    height, width = (scale * side for side in _size_of(clip))
    if not isinstance(clip, VideoClip):
        assert isinstance(clip, PictureClip)
        properties = properties_of_pictures(clip.rate)
        return Output(target, replaces, format_for(target.suffix.lower(), (width, height), properties, quality))
    video = format_for(target.suffix.lower(), (width, height), clip.properties, quality)
    others = other_streams(clip.path, video, target.suffix.lower()) if with_sound else None
    return Output(target, replaces, video, others, start_of(clip.path))


def _size_of(clip: Clip) -> tuple[int, int]:
    """Return the height and width of all frames. Raises `UserError` if pictures differ in size."""
    scenes = clip.scenes if isinstance(clip, PictureClip) else clip.scenes[:1]
    shapes = {next(clip.frames(scene.start)).picture.shape[:2] for scene in scenes}
    if len(shapes) > 1:
        raise UserError(f"{clip.name} holds pictures of several sizes, which make no video: give OUT no suffix")
    height, width = shapes.pop()
    return height, width
