"""The clips of an evaluation: ground truth from which LR is made, or the validation side of a patch set.

Legend: T = frames of a window; h, w = LR size; H, W = size of the truth; s = scale, H = s h, W = s w.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddp.inference.upscale.input.clip import InputFrame
from ddp.inference.upscale.input.windows import Windows
from ddp.vsr.patch_set import CorruptImageError, PatchSet
from ddp.vsr.prepare.resize import DEGRADATIONS
from ddp.vsr.prepare.scenes import survey
from ddp.vsr.prepare.sources import Found, Source, find_sources
from ddp.vsr.prepare.video import DamagedVideoError, read_frames
from ddp.vsr.unreadable import Skipped
from service.errors import UserError


@dataclass(frozen=True)
class ReferenceFrame:
    """One frame with its truth: LR (T, 3, h, w) and GT (3, H, W), uint8; `follows` the frame before in its scene."""

    number: int
    lr: Tensor
    gt: Tensor
    follows: bool


@dataclass
class TrueClip:
    """A video or a folder of pictures as the truth, without its LR, which is made by `degradation` at `scale`."""

    name: str
    path: Path
    scenes: Sequence[range]
    frame_count: int
    degradation: str
    scale: int
    skipped: Sequence[Skipped] = ()
    notices: Sequence[str] = ()

    @property
    def is_divisible(self) -> bool:
        """Whether a part of it can be read without what comes before."""
        return self.path.is_dir()

    def frames(self, first: int) -> Iterator[InputFrame]:
        """Yield the frames from number `first` on."""
        source = Source(self.name, self.path)
        for number, picture in read_frames(source, range(first, self.frame_count)):
            yield InputFrame(number, picture, Fraction(number))

    def identity(self) -> dict[str, Any]:
        """Return plain values that differ for another clip."""
        return {"path": str(self.path)}

    def reference_frames(self, n_frames: int, first: int, end: int) -> Iterator[ReferenceFrame]:
        """Yield the frames from `first` to `end` - 1 with their windows, never across a cut. Raises `UserError`."""
        starts = {scene.start for scene in self.scenes}
        windows = Windows(self, n_frames, self._pair)
        try:
            for frame, pairs in windows.from_frame(first):
                lr, gt = torch.stack([lr for lr, _ in pairs]), pairs[n_frames // 2][1]
                yield ReferenceFrame(frame.number, lr, gt, frame.number not in starts)
                if frame.number == end - 1:
                    return
        except DamagedVideoError as error:
            raise UserError(f"{self.name} could be read before, but not now: {error}") from error

    def _pair(self, frame: InputFrame) -> tuple[Tensor, Tensor]:
        """Return LR (3, h, w) and GT (3, H, W) of a frame, cropped to a multiple of the scale."""
        height, width = (side // self.scale * self.scale for side in frame.picture.shape[:2])
        gt = frame.picture[:height, :width]
        lr = DEGRADATIONS[self.degradation](gt, self.scale)
        return torch.from_numpy(lr).permute(2, 0, 1), torch.from_numpy(gt.copy()).permute(2, 0, 1)


@dataclass(frozen=True)
class PatchClip:
    """The validation side of a patch set: pairs of LR and GT, none of which follows another."""

    name: str
    path: Path
    frame_count: int
    scale: int
    is_divisible: bool = True

    def reference_frames(self, n_frames: int, first: int, end: int) -> Iterator[ReferenceFrame]:
        """Yield the pairs from `first` to `end` - 1. Raises `UserError` for one that cannot be read."""
        patches = PatchSet.open(self.path, "Val", n_frames, self.scale)
        for number in range(first, end):
            try:
                lr, gt = patches.read(number)
            except CorruptImageError as error:
                raise UserError(f"{self.name} cannot be measured: {error}") from error
            yield ReferenceFrame(number, lr, gt, follows=False)


ReferenceClip = TrueClip | PatchClip


@dataclass(frozen=True)
class ReferenceSet:
    """A set of clips under a name; `left_out` has a sentence for each that cannot be used."""

    name: str
    path: Path
    clips: tuple[ReferenceClip, ...]
    left_out: tuple[str, ...]


def open_set(name: str, path: Path, n_frames: int, scale: int, degradation: str) -> ReferenceSet:
    """Look through a set: a folder of clips, one clip, or a patch set. Raises `UserError` if nothing can be used."""
    if (path / "Val" / "GT").is_dir():
        return _patch_set(name, path, n_frames, scale)
    found = Found((Source(path.name, path),), ()) if path.is_file() else find_sources(path)
    clips: list[ReferenceClip] = []
    left_out = [f"{item.name}: {item.reason}" for item in found.skipped]
    for source in found.sources:
        try:
            clips.append(_true_clip(source, scale, degradation))
        except UserError as error:
            left_out.append(str(error))
    if not clips:
        raise UserError(f"the set {path} holds no clip that can be measured: {'; '.join(left_out[:3])}")
    return ReferenceSet(name, path, tuple(clips), tuple(left_out))


def _patch_set(name: str, path: Path, n_frames: int, scale: int) -> ReferenceSet:
    patches = PatchSet.open(path, "Val", n_frames, scale)
    left_out = tuple(f"{skipped.name}: {skipped.reason}" for skipped in patches.skipped)
    return ReferenceSet(name, path, (PatchClip(name, path, len(patches), scale),), left_out)


def _true_clip(source: Source, scale: int, degradation: str) -> TrueClip:
    """Look through a clip. Raises `UserError` if it is not whole: its mean would be that of another clip."""
    try:
        found = survey(source)
    except DamagedVideoError as error:
        raise UserError(f"{source.name}: {error}") from error
    if found.damage or found.skipped:
        reason = found.damage or f"{found.skipped[0].name}: {found.skipped[0].reason}"
        raise UserError(f"{source.name}: it is not whole ({reason}), so its mean would be that of another clip")
    if min(found.height, found.width) < scale:
        raise UserError(f"{source.name}: its frames of {found.width}x{found.height} pixels are too small")
    scenes = tuple(range(scene.first_frame, scene.first_frame + scene.frame_count) for scene in found.scenes)
    return TrueClip(source.name, source.path, scenes, scenes[-1].stop, degradation, scale)
