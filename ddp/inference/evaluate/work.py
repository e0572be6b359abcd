"""One evaluation: the clips of all sets, shared over processes by work, measured in whole frames.

Legend: H, W = size of the truth; T = frames of a window.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ddp.inference.evaluate.clips import ReferenceClip, ReferenceFrame, ReferenceSet
from ddp.inference.evaluate.measures import ClipScores, FrameScores, SetScores, VariantMeter
from ddp.inference.network import TrainedNetwork
from ddp.inference.upscale.enlarger import MEMORY_BYTES, Enlarger, side_for
from ddp.vsr.prepare.jobs.processes import Crash, Report, run_tasks
from ddp.vsr.prepare.resize import imresize
from service.errors import MemoryShortageError, UserError

BICUBIC = "bicubic"
PART_FRAMES = 32
"""Frames of a folder of pictures that one process takes at a time: so many clips of unequal length end together."""
PRELOADED = ("ddp.inference.evaluate.work",)

Show = Callable[[str], None]


@dataclass(frozen=True)
class Failure:
    """Why a part of a clip could not be measured."""

    reason: str


@dataclass(frozen=True)
class PartOfClip:
    """A task: measure the frames from `first` to `end` - 1 of a clip."""

    set_index: int
    clip_index: int
    clip: ReferenceClip
    first: int
    end: int
    networks: Mapping[str, TrainedNetwork]
    device: torch.device
    border: int
    tile: int

    def __call__(self, report: Report) -> Mapping[int, FrameScores] | Failure:
        """Return the scores by frame, or why there are none."""
        try:
            return self._measured(report)
        except MemoryShortageError as error:
            return Failure(str(error))
        except UserError as error:
            return Failure(str(error))

    def _measured(self, report: Report) -> Mapping[int, FrameScores]:
        enlargers = {
            name: Enlarger(network, self.device, self.tile, is_exact=True) for name, network in self.networks.items()
        }
        meters = {name: VariantMeter(self.border) for name in (BICUBIC, *enlargers)}
        n_frames = next(iter(self.networks.values())).n_frames
        scores: dict[int, FrameScores] = {}
        before = max(0, self.first - 1)  # the first one's change is to the last frame of the part before
        for frame in self.clip.reference_frames(n_frames, before, self.end):
            found = self._frame_scores(frame, enlargers, meters)
            if frame.number >= self.first:
                scores[frame.number] = found
                report(len(scores))
        return scores

    def _frame_scores(
        self, frame: ReferenceFrame, enlargers: Mapping[str, Enlarger], meters: Mapping[str, VariantMeter]
    ) -> FrameScores:
        target = frame.gt.to(self.device).float().div_(255).unsqueeze(0)
        window = frame.lr.to(self.device)
        found = {}
        for name, meter in meters.items():
            output = _bicubic(frame) if name == BICUBIC else enlargers[name].enlarge(list(window))
            found[name] = meter.measure(
                output.to(self.device).unsqueeze(0), target, follows=frame.follows, is_scored=frame.number >= self.first
            )
        return found


def _bicubic(frame: ReferenceFrame) -> Tensor:
    """Return the centre frame enlarged as by MATLAB's imresize, (3, H, W) in 0…1."""
    centre = frame.lr[len(frame.lr) // 2].permute(1, 2, 0).numpy()
    enlarged = imresize(centre, *frame.gt.shape[-2:])
    return torch.from_numpy(enlarged).permute(2, 0, 1).float().div_(255)


@dataclass(frozen=True)
class Wishes:
    """How to measure: pixels cropped on every side, side of tiles in LR pixels (0: chosen), processes."""

    border: int = 0
    tile: int = 0
    workers: int = 1


def evaluate(
    sets: Sequence[ReferenceSet],
    networks: Mapping[str, TrainedNetwork],
    devices: Sequence[torch.device],
    wishes: Wishes,
    show: Show,
) -> list[SetScores]:
    """Measure all clips; a clip that fails is named in `left_out` of its set, and the others go on.

    The result does not depend on the number of processes.
    """
    tasks = _tasks(sets, networks, devices, wishes)
    frames: dict[tuple[int, int], dict[int, FrameScores]] = {}
    failures: dict[tuple[int, int], str] = {}
    done = 0
    for number, result in run_tasks(tasks, wishes.workers, lambda *_: None, PRELOADED):
        task = tasks[number]
        key, done = (task.set_index, task.clip_index), done + 1
        if isinstance(result, Crash | Failure):
            failures[key] = f"{task.clip.name}: {result.reason}"
        else:
            frames.setdefault(key, {}).update(result)
        show(f"{done} of {len(tasks)} parts: {task.clip.name}, frames {task.first} to {task.end - 1}")
    return [_set_scores(index, reference_set, frames, failures) for index, reference_set in enumerate(sets)]


def _tasks(
    sets: Sequence[ReferenceSet],
    networks: Mapping[str, TrainedNetwork],
    devices: Sequence[torch.device],
    wishes: Wishes,
) -> list[PartOfClip]:
    """Return the parts of all clips, the longest first: what is left at the end is short."""
    tile = wishes.tile or min(_tile(network, devices[0], wishes.workers) for network in networks.values())
    parts = [
        (set_index, clip_index, clip, first, end)
        for set_index, reference_set in enumerate(sets)
        for clip_index, clip in enumerate(reference_set.clips)
        for first, end in _stretches(clip)
    ]
    parts.sort(key=lambda part: part[3] - part[4])
    return [
        PartOfClip(*part, networks, devices[number % len(devices)], wishes.border, tile)
        for number, part in enumerate(parts)
    ]


def _tile(network: TrainedNetwork, device: torch.device, workers: int) -> int:
    """Return the side of tiles with which all processes together need about as much memory as one; 0 on a GPU."""
    return 0 if device.type == "cuda" else side_for(network, MEMORY_BYTES // workers)


def _stretches(clip: ReferenceClip) -> list[tuple[int, int]]:
    """Return first and end of the parts of a clip: one, if each would have to decode what comes before."""
    length = PART_FRAMES if clip.is_divisible else clip.frame_count
    return [(first, min(first + length, clip.frame_count)) for first in range(0, clip.frame_count, length)]


def _set_scores(
    index: int,
    reference_set: ReferenceSet,
    frames: Mapping[tuple[int, int], Mapping[int, FrameScores]],
    failures: Mapping[tuple[int, int], str],
) -> SetScores:
    clips = [
        ClipScores(clip.name, frames[index, clip_index])
        for clip_index, clip in enumerate(reference_set.clips)
        if (index, clip_index) in frames and (index, clip_index) not in failures
    ]
    failed = [reason for (set_index, _), reason in sorted(failures.items()) if set_index == index]
    return SetScores(reference_set.name, str(reference_set.path), clips, [*reference_set.left_out, *failed])
