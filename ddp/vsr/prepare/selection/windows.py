"""Choice of the windows of frames that become samples, and of their crop positions. Pure: no files, no frames.

Windows lie within one scene and are distributed evenly over it. Each gets several crop positions in a fixed random
order, because only the frame shows which positions are too flat to be useful.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal

from ddp.vsr.prepare.scenes import Scene, Survey

Side = Literal["Patches", "Val"]

CANDIDATES = 8  # positions tried per window before it counts as flat
PATCHES_PER_WINDOW = 8  # more from the same frames would be redundant


@dataclass(frozen=True, kw_only=True)
class Window:
    """A planned sample: frames from `first_frame` on, cropped to height x width GT pixels at a corner."""

    side: Side
    scene: Scene
    first_frame: int
    height: int
    width: int
    corners: tuple[tuple[int, int], ...]
    """Candidates (top, left), multiples of the scale, in the order in which they are tried."""


@dataclass(frozen=True, kw_only=True)
class CutOut:
    """Parameters of the crops of one side: GT size in pixels, scale, frames and seed."""

    side: Side
    height: int
    width: int
    scale: int
    n_frames: int
    seed: int


def training_windows(scenes: Sequence[Scene], surveys: Sequence[Survey], count: int, cut: CutOut) -> list[Window]:
    """Return about `count` windows, distributed in proportion to the windows of each scene."""
    offered = [scene.window_count(cut.n_frames) for scene in scenes]
    wanted = min(count, PATCHES_PER_WINDOW * sum(offered))
    return _plan(scenes, surveys, _in_proportion(wanted, offered), cut)


def validation_windows(scenes: Sequence[Scene], surveys: Sequence[Survey], count: int, cut: CutOut) -> list[Window]:
    """Return at most `count` windows, distributed evenly over the scenes, all from different frames."""
    offered = [scene.window_count(cut.n_frames) for scene in scenes]
    return _plan(scenes, surveys, _evenly(min(count, sum(offered)), offered), cut)


def _plan(scenes: Sequence[Scene], surveys: Sequence[Survey], counts: list[int], cut: CutOut) -> list[Window]:
    survey_of = {survey.source: survey for survey in surveys}
    return [
        _window(scene, survey_of[scene.source], number, count, cut)
        for scene, count in zip(scenes, counts, strict=True)
        for number in range(count)
    ]


def _window(scene: Scene, survey: Survey, number: int, count: int, cut: CutOut) -> Window:
    """Return window `number` of `count` of a scene; a frame smaller than the crop is used whole."""
    start = scene.first_frame + (2 * number + 1) * scene.window_count(cut.n_frames) // (2 * count)
    height, width = (_floor(min(a, b), cut.scale) for a, b in ((cut.height, survey.height), (cut.width, survey.width)))
    # Every Python hashes a text seed in the same way, unlike a tuple.
    draw = random.Random(f"{cut.seed}/{cut.side}/{scene.source.name}/{scene.first_frame}/{number}")
    rows, columns = ((a - b) // cut.scale + 1 for a, b in ((survey.height, height), (survey.width, width)))
    drawn = [(draw.randrange(rows) * cut.scale, draw.randrange(columns) * cut.scale) for _ in range(CANDIDATES)]
    corners = tuple(dict.fromkeys(drawn))
    return Window(side=cut.side, scene=scene, first_frame=start, height=height, width=width, corners=corners)


def _floor(length: int, scale: int) -> int:
    return length // scale * scale


def _in_proportion(count: int, weights: list[int]) -> list[int]:
    """Return whole numbers with sum `count`: differences of the rounded cumulative share, so no rounding is lost."""
    total = sum(weights)
    ends = [0, *(round(count * end / total) for end in accumulate(weights))]
    return [after - before for before, after in pairwise(ends)]


def _evenly(count: int, limits: list[int]) -> list[int]:
    """Return whole numbers with sum `count`, distributed one at a time in turn, none above its limit."""
    counts = [0] * len(limits)
    while sum(counts) < count:
        for i, limit in enumerate(limits):
            if counts[i] < limit and sum(counts) < count:
                counts[i] += 1
    return counts
