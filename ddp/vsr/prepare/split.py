"""Which scenes are trained on and which are validated on. Pure: no files, no frames, the same answer for a seed.

A scene is on one side only. Held-out sources go to validation whole; of the others a share of scenes does. Where
there is a single scene in all, its tail goes to validation after a gap that no side uses.
"""

import random
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ddp.vsr.prepare.scenes import Scene, Survey
from service.errors import UserError

GAP_SECONDS = 2.0  # between the training and the validation part of a single scene
TAIL_SHARE = 0.2
GOOD_WINDOWS = 20  # scenes with fewer windows make poor validation; they are chosen last


@dataclass(frozen=True, kw_only=True)
class Split:
    """The scenes of both sides; a single scene that was parted appears on both with disjoint frames."""

    train: tuple[Scene, ...]
    val: tuple[Scene, ...]
    warnings: tuple[str, ...] = ()


def split_scenes(
    surveys: Sequence[Survey], held_out: Collection[str], val_share: float, n_frames: int, seed: int
) -> Split:
    """Put every scene with at least one window of `n_frames` on one side; shorter ones are on none.

    `held_out` names the sources that are only validated on, `val_share` (0…1) is the share of the other scenes that
    is, at least one of several. Raises UserError if one side would stay empty.
    """
    usable = [scene for survey in surveys for scene in survey.scenes if scene.window_count(n_frames)]
    held = [scene for scene in usable if scene.source.name in held_out]
    free = [scene for scene in usable if scene.source.name not in held_out]
    if not free:
        raise UserError(f"there is no scene of at least {n_frames} frames to train on: add videos or lower N_FRAMES")
    if len(free) == 1 and not held:
        return _part_single_scene(free[0], _rate_of(free[0], surveys), n_frames)
    chosen = _choose(free, max(1, round(val_share * len(free))), n_frames, seed)
    return Split(train=tuple(scene for scene in free if scene not in chosen), val=(*held, *chosen))


def _choose(scenes: list[Scene], count: int, n_frames: int, seed: int) -> list[Scene]:
    """Up to `count` scenes at random, in their order; a source loses its last scene only if no other choice is left."""
    shuffled = random.Random(seed).sample(scenes, len(scenes))
    shuffled.sort(key=lambda scene: scene.window_count(n_frames) < GOOD_WINDOWS)
    left = Counter(scene.source.name for scene in scenes)
    chosen: list[Scene] = []
    for scene in shuffled:
        if len(chosen) < count and left[scene.source.name] > 1:
            chosen.append(scene)
            left[scene.source.name] -= 1
    if not chosen:  # every source is a single scene
        chosen = shuffled[: min(count, len(scenes) - 1)]
    return sorted(chosen, key=scenes.index)


def _part_single_scene(scene: Scene, rate: float, n_frames: int) -> Split:
    """Head to training, tail to validation, at least two seconds (or, in a short scene, one window) between them."""
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
