"""Scene detection: finds the cuts of a video, so that no window of frames and no split crosses a cut.

Never keeps frames and never writes. A false cut costs a few windows, a missed cut puts two shots into one sample, so
the thresholds prefer false cuts. They find 6 shots in bikes.mp4, 1 in bigbuckbunny.mp4, 2 in cityCC0.mpg, 1 in a
talking face, and 137 in the ten minutes of bbb.mp4.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ddp.vsr.prepare.video import DamagedVideoError, Source, Thumbnail, frames_per_second, read_frames, read_thumbnails

# Mean absolute grey difference of two thumbnails, 0…255.
SMALLEST_CUT = 8.0  # smaller differences are motion and noise
SURE_CUT = 45.0  # a cut, whatever the neighbouring differences
CUT_TO_MOTION_RATIO = 1.5  # a cut exceeds its neighbours; fast pans have consecutive large differences
NEIGHBOURS = 2


@dataclass(frozen=True)
class Scene:
    """Frames `first_frame` … `first_frame + frame_count - 1` of one source, without a cut between them."""

    source: Source
    index: int
    first_frame: int
    frame_count: int

    def window_count(self, n_frames: int) -> int:
        """Return the number of windows of `n_frames` consecutive frames in the scene."""
        return max(0, self.frame_count - n_frames + 1)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Result of one pass over a source. Sizes are those of `read_frames` with the same `halve_from`."""

    source: Source
    height: int
    width: int
    frame_count: int
    frames_per_second: float
    scenes: tuple[Scene, ...]
    damage: str
    """Why the stream ended early after the last scene; empty if it did not."""


def survey(source: Source, halve_from: int = 0) -> Survey:
    """Decode the source once and find its scenes. Raises DamagedVideoError if no frame can be read."""
    damage = ""
    differences: list[float] = []
    previous: Thumbnail | None = None
    try:
        for thumbnail in read_thumbnails(source):
            if previous is not None:
                differences.append(float(np.abs(thumbnail - previous).mean()))
            previous = thumbnail
    except DamagedVideoError as error:
        if previous is None:
            raise
        damage = str(error)
    if previous is None:
        raise DamagedVideoError("it holds no frame")
    _, first = next(read_frames(source, {0}, halve_from))
    return Survey(
        source=source,
        height=first.shape[0],
        width=first.shape[1],
        frame_count=len(differences) + 1,
        frames_per_second=frames_per_second(source),
        scenes=_scenes_between(source, find_cuts(differences), len(differences) + 1),
        damage=damage,
    )


def find_cuts(differences: Sequence[float]) -> list[int]:
    """Return the numbers of the frames that start a new scene; `differences[i]` is between frames i and i + 1."""
    cuts = []
    for i, difference in enumerate(differences):
        around = (*differences[max(0, i - NEIGHBOURS) : i], *differences[i + 1 : i + 1 + NEIGHBOURS])
        stands_out = difference >= SMALLEST_CUT and difference >= CUT_TO_MOTION_RATIO * max(around, default=0.0)
        if stands_out or difference >= SURE_CUT:
            cuts.append(i + 1)
    return cuts


def _scenes_between(source: Source, cuts: list[int], frame_count: int) -> tuple[Scene, ...]:
    starts = [0, *cuts]
    ends = [*cuts, frame_count]
    return tuple(Scene(source, i, start, end - start) for i, (start, end) in enumerate(zip(starts, ends, strict=True)))
