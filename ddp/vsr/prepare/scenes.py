"""Scene detection: finds the cuts of a video, so that no window of frames and no split crosses a cut.

Never keeps frames and never writes. A false cut costs a few windows, a missed cut puts two shots into one sample, so
the thresholds prefer false cuts. They find 6 shots in bikes.mp4, 1 in bigbuckbunny.mp4, 2 in cityCC0.mpg, 1 in a
talking face, and 137 in the ten minutes of bbb.mp4.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from ddp.vsr.prepare.missing import missing_part
from ddp.vsr.prepare.selection.frame_hashes import FLAT, frame_hash, hashes_as_text
from ddp.vsr.prepare.sources import Source
from ddp.vsr.prepare.video import (
    DamagedVideoError,
    Thumbnail,
    describe_colours,
    frames_per_second,
    read_frames,
    read_thumbnails,
)
from ddp.vsr.unreadable import Skipped

# Mean absolute grey difference of two thumbnails, 0…255.
SMALLEST_CUT = 8.0  # smaller differences are motion and noise
SURE_CUT = 45.0  # a cut, whatever the neighbouring differences
CUT_TO_MOTION_RATIO = 1.5  # a cut exceeds its neighbours; fast pans have consecutive large differences
NEIGHBOURS = 2

MAX_EXAMPLES = 3


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
    skipped: tuple[Skipped, ...] = ()
    """Images of a sequence that are in no scene: those that cannot be read or have another size than most."""
    colours: str = ""
    """How colours are taken, such as `BT.709 (assumed), limited range`."""
    frame_hashes: str = ""
    """The perceptual hash of every frame, 16 hexadecimal digits each; 0 for one that shows nothing or is unreadable."""
    deinterlaced: bool = False
    """Whether there are frames that held two moments and became one."""
    hdr_peak: float | None = None
    """The brightest light of HDR video in cd/m², from which it is mapped to SDR."""


def survey(
    source: Source,
    halve_from: int = 0,
    on_frame: Callable[[int], object] = lambda _: None,
    maps_hdr: bool = False,
) -> Survey:
    """Decode the source once and find its scenes; `on_frame` gets the number of frames seen.

    Raises DamagedVideoError if no frame can be read, and for HDR unless `maps_hdr`.
    """
    found = _Pass()
    damage = ""
    try:
        for thumbnail in read_thumbnails(source, maps_hdr):
            found.add(thumbnail)
            on_frame(len(found.frames))
    except DamagedVideoError as error:
        if not found.frames:
            raise
        damage = str(error)
    runs = found.runs()
    if not runs:
        raise DamagedVideoError(found.nothing_sentence())
    if not damage and not source.is_sequence:
        damage = missing_part(source.path)
    scenes = [scene for start, differences in runs for scene in scenes_between(start, differences)]
    peak = found.hdr_peak or None
    _, first = next(read_frames(source, {runs[0][0]}, halve_from, peak))
    return Survey(
        source=source,
        height=first.shape[0],
        width=first.shape[1],
        frame_count=len(found.frames),
        frames_per_second=frames_per_second(source),
        scenes=tuple(Scene(source, index, start, count) for index, (start, count) in enumerate(scenes)),
        damage=damage,
        skipped=tuple(found.skipped),
        colours=describe_colours(source, maps_hdr) + (f", brightest {peak:.0f} cd/m²" if peak else ""),
        deinterlaced=found.is_deinterlaced,
        frame_hashes=hashes_as_text(found.hashes),
        hdr_peak=peak,
    )


@dataclass
class _Pass:
    """What one pass over a source finds: every frame's size, None if it cannot be read, and the differences."""

    frames: list[tuple[str, tuple[int, int] | None]] = field(default_factory=list)
    """Name and size of every frame."""
    differences: list[float] = field(default_factory=list)
    """Between frames i and i + 1; 0 where one of them cannot be read."""
    skipped: list[Skipped] = field(default_factory=list)
    hashes: list[int] = field(default_factory=list)
    is_deinterlaced: bool = False
    hdr_peak: float = 0.0
    _previous: Thumbnail | Skipped | None = None

    def add(self, found: Thumbnail | Skipped) -> None:
        """Add the next frame."""
        if self.frames:
            self.differences.append(_difference(self._previous, found))
        self._previous = found
        if isinstance(found, Skipped):
            self.skipped.append(found)
        self.frames.append((found.name, None if isinstance(found, Skipped) else found.size))
        self.hashes.append(frame_hash(found.grey) if isinstance(found, Thumbnail) else FLAT)
        if isinstance(found, Thumbnail):
            self.is_deinterlaced |= found.is_deinterlaced
            self.hdr_peak = max(self.hdr_peak, found.hdr_peak)

    def runs(self) -> list[tuple[int, list[float]]]:
        """Return the first frame of each run of frames of the commonest size, and the differences within the run.

        Frames of another size are added to `skipped`.
        """
        sizes = Counter(size for _, size in self.frames if size is not None)
        usual = sizes.most_common(1)[0][0] if sizes else None
        self.skipped += [
            Skipped(name, _size_reason(size, usual)) for name, size in self.frames if size and usual and size != usual
        ]
        is_usual = groupby(range(len(self.frames)), key=lambda i: usual is not None and self.frames[i][1] == usual)
        runs = [list(numbers) for is_in_run, numbers in is_usual if is_in_run]
        return [(run[0], self.differences[run[0] : run[-1]]) for run in runs]

    def nothing_sentence(self) -> str:
        """Return why there is no frame."""
        examples = "; ".join(f"{item.name}: {item.reason}" for item in self.skipped[:MAX_EXAMPLES])
        return f"none of its images can be read, such as {examples}" if examples else "it holds no frame"


def _difference(previous: Thumbnail | Skipped | None, found: Thumbnail | Skipped) -> float:
    if isinstance(previous, Thumbnail) and isinstance(found, Thumbnail):
        return float(np.abs(found.grey - previous.grey).mean())
    return 0.0


def _size_reason(size: tuple[int, int], usual: tuple[int, int]) -> str:
    return f"it is {size[0]}x{size[1]}, but most images there are {usual[0]}x{usual[1]}"


def find_cuts(differences: Sequence[float]) -> list[int]:
    """Return the numbers of the frames that start a new scene; `differences[i]` is between frames i and i + 1."""
    cuts = []
    for i, difference in enumerate(differences):
        around = (*differences[max(0, i - NEIGHBOURS) : i], *differences[i + 1 : i + 1 + NEIGHBOURS])
        stands_out = difference >= SMALLEST_CUT and difference >= CUT_TO_MOTION_RATIO * max(around, default=0.0)
        if stands_out or difference >= SURE_CUT:
            cuts.append(i + 1)
    return cuts


def scenes_between(first_frame: int, differences: Sequence[float]) -> list[tuple[int, int]]:
    """Return (first frame, number of frames) of every scene of a run of frames that begins at `first_frame`."""
    cuts = find_cuts(differences)
    starts, ends = [0, *cuts], [*cuts, len(differences) + 1]
    return [(first_frame + start, end - start) for start, end in zip(starts, ends, strict=True)]
