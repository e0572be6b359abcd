"""Split of scenes into training and validation. Pure: no files, no frames, deterministic for a seed.

A scene is on one side only. All scenes of held-out sources and a share of the others are used for validation. If there
is only one scene, its tail is used for validation, after a gap that neither side uses.
"""

import random
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ddp.vsr.prepare.scenes import Scene, Survey
from service.errors import UserError

GAP_SECONDS = 2.0  # between the training and the validation part of a single scene
TAIL_SHARE = 0.2
GOOD_WINDOWS = 20  # scenes with fewer windows are poor for validation and are chosen last


@dataclass(frozen=True, kw_only=True)
class Split:
    """Scenes of both sides; a single scene that was divided is on both, with disjoint frames."""

    train: tuple[Scene, ...]
    val: tuple[Scene, ...]
    warnings: tuple[str, ...] = ()


def split_scenes(
    surveys: Sequence[Survey], held_out: Collection[str], val_share: float, n_frames: int, seed: int
) -> Split:
    """Assign every scene with at least one window of `n_frames` to one side, and shorter ones to none.

    `held_out` names the sources used for validation only; `val_share` (0…1) is the share of the other scenes used for
    validation, at least one of several. Raises UserError if one side would be empty.
    """
    usable = [scene for survey in surveys for scene in survey.scenes if scene.window_count(n_frames)]
    held = [scene for scene in usable if scene.source.name in held_out]
    free = [scene for scene in usable if scene.source.name not in held_out]
    if not free:
        raise UserError(f"there is no scene of at least {n_frames} frames to train on: add videos or lower N_FRAMES")
    if len(free) == 1 and not held:
        return _divide_single_scene(free[0], _rate_of(free[0], surveys), n_frames)
    chosen = _choose(free, max(1, round(val_share * len(free))), n_frames, seed)
    return Split(train=tuple(scene for scene in free if scene not in chosen), val=(*held, *chosen))


def _choose(scenes: list[Scene], count: int, n_frames: int, seed: int) -> list[Scene]:
    """Choose up to `count` random scenes, in order; a source loses its last scene only without an alternative."""
    shuffled = random.Random(seed).sample(scenes, len(scenes))
    shuffled.sort(key=lambda scene: scene.window_count(n_frames) < GOOD_WINDOWS)
    remaining = Counter(scene.source.name for scene in scenes)
    chosen: list[Scene] = []
    for scene in shuffled:
        if len(chosen) < count and remaining[scene.source.name] > 1:
            chosen.append(scene)
            remaining[scene.source.name] -= 1
    if not chosen:  # every source is a single scene
        chosen = shuffled[: min(count, len(scenes) - 1)]
    return sorted(chosen, key=scenes.index)


def _divide_single_scene(scene: Scene, rate: float, n_frames: int) -> Split:
    """Divide a scene into head (training) and tail (validation), with a gap of two seconds or at least one window."""
    tail = max(n_frames, int(TAIL_SHARE * scene.frame_count))
    gap = max(n_frames, round(GAP_SECONDS * rate))
    if scene.frame_count - tail - gap < n_frames:
        gap = n_frames
    head = scene.frame_count - tail - gap
    if head < n_frames:
        raise UserError(
            f"{scene.source.name} is the only scene and has {scene.frame_count} frames, too few to train and validate "
            f"on with N_FRAMES {n_frames}: add another video"
        )
    warning = (
        f"{scene.source.name} is the only scene: its first {head} frames are trained on, its last {tail} validated on, "
        f"{gap} between them unused; validation on the same scene flatters the network, so add another video"
    )
    val = Scene(scene.source, scene.index, scene.first_frame + head + gap, tail)
    return Split(train=(Scene(scene.source, scene.index, scene.first_frame, head),), val=(val,), warnings=(warning,))


def _rate_of(scene: Scene, surveys: Sequence[Survey]) -> float:
    return next(survey.frames_per_second for survey in surveys if survey.source == scene.source)
