"""Cuts windows out of decoded frames and writes them as pairs of PNG files.

    SET/<side>/GT/<name>.png   the middle frame, H x W
    SET/<side>/LR/<name>.png   all T frames, degraded to H/s x W/s and stacked from top to bottom

The LR images equal crops of the degraded whole frame: each is made from a crop with a margin, so that patches have no
border effects. Never keeps more than the frames of the open windows.

Legend: H, W = GT size; s = scale; T = frames of a window.
"""

import hashlib
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ddp.vsr.prepare.frames.colours import Frame
from ddp.vsr.prepare.resize import DEGRADATIONS
from ddp.vsr.prepare.scenes import Survey
from ddp.vsr.prepare.selection.windows import Window
from ddp.vsr.prepare.video import DamagedVideoError, read_frames

FLAT_BELOW = 2.0  # mean absolute difference of neighbouring pixels, 0…255; sky and black bars are below
PNG_COMPRESS_LEVEL = 1  # three times as fast as the default, with 10 % larger files
MARGIN_LR_PIXELS = 3  # the bicubic kernel reaches two LR pixels to each side, the blur six GT pixels


@dataclass
class PatchWriter:
    """Writes the samples of one set, and counts written and rejected ones."""

    root: Path
    scale: int
    n_frames: int
    halve_from: int = 0
    degradation: str = "bicubic"
    written: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each file, by its path in the set."""
    _names: set[str] = field(default_factory=set)

    def make_folders(self) -> None:
        """Create the four folders of the set."""
        for side in ("Patches", "Val"):
            for kind in ("GT", "LR"):
                (self.root / side / kind).mkdir(parents=True, exist_ok=True)

    def begin_anew(self) -> None:
        """Forget what was written and rejected."""
        self.written, self.rejected, self.files, self._names = Counter(), Counter(), {}, set()

    def write(
        self,
        survey: Survey,
        label: str,
        windows: Sequence[Window],
        on_done: Callable[[Window], object] = lambda _: None,
    ) -> None:
        """Decode the source once and write its windows; `label` is the prefix of their file names.

        `on_done` gets every window, in the order of their first frames, once it is written or rejected.
        """
        pending = sorted(windows, key=lambda window: window.first_frame)
        wanted = {number for window in pending for number in self._numbers(window)}
        done = 0
        try:
            for frames, window in self._open_windows(survey, pending, wanted):
                self._write_window(label, window, frames)
                done += 1
                on_done(window)
        except DamagedVideoError:
            # The survey ended before the damage, so the file has changed since.
            for window in pending[done:]:
                self.rejected["unreadable"] += 1
                on_done(window)

    def _numbers(self, window: Window) -> range:
        return range(window.first_frame, window.first_frame + self.n_frames)

    def _open_windows(
        self, survey: Survey, pending: list[Window], wanted: set[int]
    ) -> Iterator[tuple[list[Frame], Window]]:
        """Yield each window with its frames as soon as its last frame is decoded."""
        frames: dict[int, Frame] = {}
        upcoming = 0
        for number, frame in read_frames(survey.source, wanted, self.halve_from, survey.hdr_peak):
            frames[number] = frame
            while upcoming < len(pending) and self._numbers(pending[upcoming])[-1] == number:
                yield [frames[i] for i in self._numbers(pending[upcoming])], pending[upcoming]
                upcoming += 1
            oldest = pending[upcoming].first_frame if upcoming < len(pending) else number + 1
            frames = {i: kept for i, kept in frames.items() if i >= oldest}

    def _write_window(self, label: str, window: Window, frames: list[Frame]) -> None:
        """Write the window at its first corner that is neither flat nor already used."""
        middle = self.n_frames // 2
        reason = "flat"
        for top, left in window.corners:
            gt = frames[middle][top : top + window.height, left : left + window.width]
            name = f"{label}_s{window.scene.index:03d}_f{window.first_frame + middle:06d}_y{top:04d}_x{left:04d}.png"
            if detail_of(gt) < FLAT_BELOW:
                continue
            if name in self._names:
                reason = "duplicate"
                continue
            self._names.add(name)
            self._save(window, name, gt, [self._resized_crop(frame, window, top, left) for frame in frames])
            return
        self.rejected[reason] += 1

    def _resized_crop(self, frame: Frame, window: Window, top: int, left: int) -> NDArray[np.uint8]:
        """Return the crop degraded to 1/s, (H/s, W/s, 3)."""
        s, margin = self.scale, MARGIN_LR_PIXELS * self.scale
        height, width = (length // s * s for length in frame.shape[:2])
        y0, x0 = max(0, top - margin), max(0, left - margin)
        y1, x1 = min(height, top + window.height + margin), min(width, left + window.width + margin)
        small: NDArray[np.uint8] = DEGRADATIONS[self.degradation](frame[y0:y1, x0:x1], s)
        y, x = (top - y0) // s, (left - x0) // s
        return small[y : y + window.height // s, x : x + window.width // s]

    def _save(self, window: Window, name: str, gt: Frame, small: list[NDArray[np.uint8]]) -> None:
        for kind, image in (("GT", gt), ("LR", np.concatenate(small))):
            path = f"{window.side}/{kind}/{name}"
            content = io.BytesIO()
            Image.fromarray(np.ascontiguousarray(image)).save(content, "png", compress_level=PNG_COMPRESS_LEVEL)
            (self.root / path).write_bytes(content.getbuffer())
            self.files[path] = hashlib.sha256(content.getbuffer()).hexdigest()
        self.written[window.side] += 1


def detail_of(image: Frame) -> float:
    """Return the mean absolute difference of neighbouring pixels over both directions, 0…255.

    Of the channel that has most, or of their mean: edges between colours of the same brightness are detail.
    """
    channels = image.astype(np.float32)
    planes = np.concatenate([channels, channels.mean(axis=2, keepdims=True)], axis=2)
    steps = [np.abs(np.diff(planes, axis=axis)).mean(axis=(0, 1)) for axis in (0, 1)]
    return float(sum(steps).max()) / 2


def labels_of(names: Sequence[str]) -> dict[str, str]:
    """Return a unique file name prefix of letters, digits and hyphens for each source name."""
    labels: dict[str, str] = {}
    for name in names:
        label = base = re.sub(r"[^A-Za-z0-9]+", "-", str(Path(name).with_suffix(""))).strip("-") or "video"
        count = 1
        while label in labels.values():
            count += 1
            label = f"{base}-{count}"
        labels[name] = label
    return labels
