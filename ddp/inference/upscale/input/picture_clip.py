"""A folder of pictures in the order of their numbers, or one picture, as a clip.

Pictures of a folder are neighbours unless they look like different scenes or differ in size, so a folder of pictures
that have nothing to do with each other is enlarged picture by picture. One that cannot be read costs itself only.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ddp.inference.upscale.input.clip import InputFrame
from ddp.vsr.pictures import read_picture
from ddp.vsr.prepare.scenes import scenes_between
from ddp.vsr.prepare.sources import IMAGE_SUFFIXES, VIDEO_SUFFIXES, pictures_in
from ddp.vsr.prepare.video import Thumbnail, thumbnail_of_image
from ddp.vsr.unreadable import UNREADABLE, Skipped, UnreadableFileError, opened_picture, printable_name, reason_of
from service.errors import UserError

PICTURES_PER_SECOND = Fraction(25)
MAX_EXAMPLES = 3


class PictureClip:
    """Pictures as frames; those that cannot be read are in `skipped`."""

    def __init__(self, name: str, paths: Sequence[Path], rate: Fraction = PICTURES_PER_SECOND) -> None:
        """Look at all pictures. Raises `UserError` if none can be read."""
        self.name = name
        thumbnails = [(path, thumbnail_of_image(path)) for path in paths]
        self.skipped: Sequence[Skipped] = [found for _, found in thumbnails if isinstance(found, Skipped)]
        readable = [(path, found) for path, found in thumbnails if isinstance(found, Thumbnail)]
        if not readable:
            raise UserError(f"{name} holds no picture that can be read: {_examples(self.skipped)}")
        self._paths = [path for path, _ in readable]
        self.frame_count = len(self._paths)
        self.scenes: Sequence[range] = _scenes([found for _, found in readable])
        self.rate = rate
        self.notices: Sequence[str] = ()

    def frames(self, first: int) -> Iterator[InputFrame]:
        """Yield the pictures from number `first` on. Raises `UserError` for one that cannot be read any more."""
        for number, path in enumerate(self._paths[first:], start=first):
            try:
                picture, profile = read_picture(path), _profile_of(path)
            except UnreadableFileError as error:
                raise UserError(f"{printable_name(path.name)} could be read before, but not now: {error}") from error
            yield InputFrame(number, picture, number / self.rate, path.stem, profile)

    def identity(self) -> dict[str, Any]:
        """Return names, sizes in bytes and times of change of the pictures."""
        return {"pictures": [_identity_of(path) for path in self._paths], "rate": str(self.rate)}

    def names(self) -> list[str]:
        """Return the name of each picture's file without suffix, in order."""
        return [path.stem for path in self._paths]


def picture_clip_of_folder(folder: Path, rate: Fraction) -> PictureClip:
    """Return the pictures of a folder in the order of their numbers. Raises `UserError` if there are none."""
    try:
        paths = pictures_in(folder)
        names = [path.name for path in folder.iterdir()]
    except OSError as error:
        raise UserError(f"the folder {folder} cannot be read ({reason_of(error)})") from error
    if not paths:
        videos = sorted(name for name in names if Path(name).suffix.lower() in VIDEO_SUFFIXES)
        hint = f": name one of its videos, such as {folder / videos[0]}" if videos else ""
        raise UserError(f"{folder} holds no pictures ({', '.join(sorted(IMAGE_SUFFIXES))}){hint}")
    twins = [stem for stem, count in Counter(path.stem for path in paths).items() if count > 1]
    if twins:
        raise UserError(f"{folder} holds several pictures named {twins[0]}, which would become one: rename one of them")
    return PictureClip(str(folder), paths, rate)


def _scenes(thumbnails: Sequence[Thumbnail]) -> list[range]:
    """Return the scenes: cut where the size changes, and where the picture does."""
    scenes = []
    for _, group in groupby(range(len(thumbnails)), key=lambda number: thumbnails[number].size):
        numbers = list(group)
        differences = [
            float(np.abs(thumbnails[later].grey - thumbnails[number].grey).mean())
            for number, later in pairwise(numbers)
        ]
        scenes += [range(start, start + count) for start, count in scenes_between(numbers[0], differences)]
    return scenes


def _profile_of(path: Path) -> bytes | None:
    """Return the colour profile of a picture in RGB; that of another kind of pixels does not fit the output."""
    with opened_picture(path) as image:
        profile = image.info.get("icc_profile")
        return profile if isinstance(profile, bytes) and profile[16:20] == b"RGB " else None


def _identity_of(path: Path) -> list[Any]:
    try:
        status = path.stat()
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read ({reason_of(error)})") from error
    return [printable_name(path.name), status.st_size, status.st_mtime_ns]


def _examples(skipped: Sequence[Skipped]) -> str:
    return "; ".join(f"{item.name}: {item.reason}" for item in skipped[:MAX_EXAMPLES])
