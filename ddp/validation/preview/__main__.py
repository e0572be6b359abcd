"""Program that reads a part of a clip: `python -m ddp.validation.preview REQUEST`, with a `PartRequest` as JSON.

It is a process of its own because a file can bring a decoder down, and because no disk may hold a training up for long.
Writes the part to standard output. Exit code 2, and the reason on standard error, if the clip cannot be used.
"""

import json
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from ddp.validation.preview.clip_part import ClipPart, PartRequest
from ddp.vsr.pictures import read_picture
from ddp.vsr.prepare.frames.colours import Frame
from ddp.vsr.prepare.scenes import scenes_between
from ddp.vsr.prepare.sources import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Source
from ddp.vsr.prepare.video import (
    DECODER_THREADS,
    THUMBNAIL_HEIGHT,
    THUMBNAIL_WIDTH,
    DamagedVideoError,
    frames_per_second,
    read_frames,
)
from ddp.vsr.unreadable import UnreadableFileError, ignore_size_warnings, require_content
from service.errors import UserError, plain_reason


def main() -> int:
    """Read the part and write it; return the exit code."""
    ignore_size_warnings()
    DECODER_THREADS.set(1)
    try:
        part = read_part(PartRequest(**json.loads(sys.argv[1])))
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.buffer.write(part.to_bytes())
    return 0


def read_part(request: PartRequest) -> ClipPart:
    """Read the wanted frames of a clip and their neighbours. Raises `UserError`."""
    path = clip_path(Path(request.root), request.name)
    source = Source(request.name, path)
    try:
        numbers, frames = _frames(source, request)
        rate = frames_per_second(source) if source.is_sequence or not _is_picture(path) else 1.0
    except (DamagedVideoError, UnreadableFileError) as error:
        raise UserError(f"{request.name} cannot be rendered: {error}") from error
    if not numbers or numbers[-1] < request.first:
        count = numbers[-1] + 1 if numbers else 0
        has = f"has {count} frames" if numbers else "has fewer frames"
        raise UserError(f"{request.name} {has}, so there is no frame {request.first}: they are counted from 0")
    end = min(request.first + request.count, numbers[-1] + 1)
    scenes = tuple((start, start + count) for start, count in scenes_between(numbers[0], _differences(frames)))
    return ClipPart(np.stack(frames), numbers[0], (request.first, end), scenes, rate)


def clip_path(root: Path, name: str) -> Path:
    """Return the place of a clip below `root`. Raises `UserError` if there is none, or a link leads out of the root."""
    try:
        folder, path = root.resolve(strict=True), (root / name).resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"there is no clip {name} in {root} ({plain_reason(error)})") from error
    if not path.is_relative_to(folder) or path == folder:
        raise UserError(f"{name} leads out of {root}, so it is not read")
    if not path.is_dir():
        if path.suffix.lower() not in VIDEO_SUFFIXES | IMAGE_SUFFIXES:
            raise UserError(f"{name} is neither a video, nor a picture, nor a folder of pictures")
        try:
            require_content(path)
        except UnreadableFileError as error:
            raise UserError(f"{name} cannot be rendered: {error}") from error
    return path


def _frames(source: Source, request: PartRequest) -> tuple[list[int], list[Frame]]:
    """Return numbers and frames of the part. Raises `UserError` for frames that are too large."""
    if not source.is_sequence and _is_picture(source.path):
        found = [(0, _checked(read_picture(source.path), request))]
    else:
        first, end = max(0, request.first - request.margin), request.first + request.count + request.margin
        found = [(number, _checked(frame, request)) for number, frame in read_frames(source, range(first, end))]
    return [number for number, _ in found], [frame for _, frame in found]


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _checked(frame: Frame, request: PartRequest) -> Frame:
    height, width = frame.shape[:2]
    if height * width > request.max_pixels:
        raise UserError(
            f"{request.name} has frames of {width}x{height} pixels, too large to show {request.count} of them while a "
            f"training waits: each may have {request.max_pixels} pixels; ask for fewer frames, or make them smaller"
        )
    return frame


def _differences(frames: list[Frame]) -> list[float]:
    """Return the mean absolute grey differences of successive frames, by which cuts are found."""
    small = [
        np.asarray(
            Image.fromarray(frame).convert("L").resize((THUMBNAIL_WIDTH, THUMBNAIL_HEIGHT), Image.Resampling.BOX),
            dtype=np.float32,
        )
        for frame in frames
    ]
    return [float(np.abs(later - earlier).mean()) for earlier, later in pairwise(small)]


if __name__ == "__main__":
    sys.exit(main())
