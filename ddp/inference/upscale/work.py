"""One upscaling, from the input's kind to the output in its place."""

from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch

from ddp.inference.network import TrainedNetwork
from ddp.inference.upscale.enlarger import Enlarger
from ddp.inference.upscale.input.clip import Clip
from ddp.inference.upscale.input.picture_clip import PICTURES_PER_SECOND, PictureClip, picture_clip_of_folder
from ddp.inference.upscale.input.video_clip import VideoClip
from ddp.inference.upscale.input.windows import Windows
from ddp.inference.upscale.output.job_folder import JobFolder, job_folder, job_path
from ddp.inference.upscale.output.target import Output, check_target, exists_sentence, output_for
from ddp.inference.upscale.output.writer import Writer
from ddp.inference.upscale.progress import Progress, Show
from ddp.vsr.prepare.sources import IMAGE_SUFFIXES
from ddp.vsr.unreadable import UnreadableFileError, require_content
from service import __version__
from service.errors import UserError, plain_reason

QUALITY = 16


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What a person asked for beside input, output and weights; `rate` in pictures per second, `quality` the CRF."""

    tile: int = 0
    quality: int = QUALITY
    rate: Fraction = PICTURES_PER_SECOND
    replaces: bool = False
    with_sound: bool = True
    until_damage: bool = False
    maps_hdr: bool = False


def upscale(
    source: Path, target: Path, network: TrainedNetwork, device: torch.device, wishes: Wishes, show: Show
) -> list[str]:
    """Enlarge `source` to `target`; return a sentence for each picture that was left out because it cannot be read.

    Raises `UserError`; what is done then stays in a hidden folder, and the same call goes on with it.
    """
    check_target(source, target, replaces=wishes.replaces)
    clip = open_clip(source, wishes)
    output = output_for(
        clip,
        target,
        network.scale,
        quality=wishes.quality,
        replaces=wishes.replaces,
        with_sound=wishes.with_sound,
    )
    show(f"{source}: {clip.frame_count} frames in {len(clip.scenes)} scenes; weights: {network.origin}")
    for notice in (*clip.notices, *output.notices()):
        show(f"Note: {notice}.")
    _make_whole(clip, output, network, Enlarger(network, device, wishes.tile), show)
    show(f"{target} is ready")
    return [f"{item.name}: {item.reason}" for item in clip.skipped]


def open_clip(source: Path, wishes: Wishes) -> Clip:
    """Open what is enlarged: a folder of pictures, a picture, or a video. Raises `UserError`."""
    if source.is_dir():
        return picture_clip_of_folder(source, wishes.rate)
    try:
        require_content(source)
    except UnreadableFileError as error:
        raise UserError(f"{source} cannot be upscaled: {error}") from error
    if source.suffix.lower() in IMAGE_SUFFIXES:
        return PictureClip(str(source), [source], wishes.rate)
    return VideoClip(source, until_damage=wishes.until_damage, maps_hdr=wishes.maps_hdr)


def _make_whole(clip: Clip, output: Output, network: TrainedNetwork, enlarger: Enlarger, show: Show) -> None:
    """Make the output in its hidden folder and put it in place. Raises `UserError`."""
    identity = {**clip.identity(), **output.identity(), "weights": network.sha256(), "version": __version__}
    try:
        with job_folder(output.target, identity) as job:
            writer = output.writer(job)
            _note_earlier(job, writer, clip, show)
            _write_frames(clip, Windows(clip, network.n_frames, enlarger.prepare), enlarger, writer, show)
            writer.finish()
    except FileExistsError as error:
        raise UserError(exists_sentence(output.target)) from error
    except OSError as error:
        raise UserError(
            f"{output.target} could not be written ({plain_reason(error)}): make room, or mend that; the same command "
            f"goes on with what is done, which is in {job_path(output.target)}"
        ) from error


def _note_earlier(job: JobFolder, writer: Writer, clip: Clip, show: Show) -> None:
    if job.was_begun and writer.done_count:
        show(f"Going on after {writer.done_count} of {clip.frame_count} frames, which were made before")


def _write_frames(clip: Clip, windows: Windows[torch.Tensor], enlarger: Enlarger, writer: Writer, show: Show) -> None:
    """Enlarge and write the frames that are not made yet; what is made is saved, whatever ends it."""
    progress = Progress(clip.frame_count, writer.done_count, show)
    try:
        for frame, window in windows.from_frame(writer.done_count):
            writer.add(frame, enlarger.enlarge(window))
            progress.step()
    except BaseException:
        with suppress(OSError):  # the first error is the one to tell
            writer.save()
        raise
