"""Split of scenes into training and validation. Pure: no files, no frames, deterministic for a seed.

A scene is on one side only, and so are scenes that show the same pictures. All scenes of held-out sources and a share
of the others are used for validation. If there is only one scene, its tail is used for validation, after a gap that
neither side uses.
"""

import random
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ddp.vsr.prepare.scenes import Scene, Survey
from ddp.vsr.prepare.selection.frame_hashes import hashes_of_text
from ddp.vsr.prepare.selection.near_duplicates import Match, Spot, groups_of, matches_between
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
    spots, held_spots = _spots_of(free, surveys), _spots_of(held, surveys)
    _refuse_held_out(matches_between(spots, held_spots), free, held)
    matches = matches_between(spots, spots)
    units = _units(free, matches)
    warnings: tuple[str, ...] = ()
    if len(units) == 1 and not held and len(free) > 1:
        warnings = (_alike_sentence(free, matches),)
        units = [[scene] for scene in free]
    chosen = _choose(units, max(1, round(val_share * len(free))), n_frames, seed)
    return Split(train=tuple(scene for scene in free if scene not in chosen), val=(*held, *chosen), warnings=warnings)


def _spots_of(scenes: Sequence[Scene], surveys: Sequence[Survey]) -> list[Spot]:
    """Return the scenes with their hashes; those of a survey without hashes have none that match."""
    hashes = {found.source: hashes_of_text(found.frame_hashes or "0" * 16 * found.frame_count) for found in surveys}
    return [Spot(scene.source.name, scene, hashes[scene.source]) for scene in scenes]


def _units(scenes: list[Scene], matches: Sequence[Match]) -> list[list[Scene]]:
    """Return the scenes in groups that show the same pictures, in order of their first scenes."""
    units: dict[int, list[Scene]] = {}
    for scene, leader in zip(scenes, groups_of(len(scenes), matches), strict=True):
        units.setdefault(leader, []).append(scene)
    return list(units.values())


def _refuse_held_out(matches: Sequence[Match], free: Sequence[Scene], held: Sequence[Scene]) -> None:
    """Raise UserError if a scene that would be trained on shows what is only validated on."""
    for match in matches:
        train, val = free[match.first].source.name, held[match.second].source.name
        raise UserError(
            f"frame {match.first_frame} of {train} looks like frame {match.second_frame} of {val}, which is only "
            "validated on: the network would be tested on what it has learnt; remove one of the two videos"
        )


def _alike_sentence(scenes: Sequence[Scene], matches: Sequence[Match]) -> str:
    """Return a warning that all scenes of one source look alike. Raises UserError if they are of several sources."""
    sources = {scene.source.name for scene in scenes}
    pair = next((m for m in matches if scenes[m.first].source != scenes[m.second].source), None)
    if pair is not None:
        first, second = (scenes[number].source.name for number in (pair.first, pair.second))
        raise UserError(
            f"all scenes show the same pictures, such as frame {pair.first_frame} of {first} and frame "
            f"{pair.second_frame} of {second}, so that none can be validated on without being trained on: add "
            "another video"
        )
    return (
        f"all scenes of {', '.join(sources)} show the same pictures; validation on what is trained on flatters the "
        "network, so add another video"
    )


def _choose(units: list[list[Scene]], count: int, n_frames: int, seed: int) -> list[Scene]:
    """Choose random units of up to `count` scenes; a source loses its last scene only without an alternative."""
    scenes = [scene for unit in units for scene in unit]
    shuffled = random.Random(seed).sample(units, len(units))
    shuffled.sort(key=lambda unit: all(scene.window_count(n_frames) < GOOD_WINDOWS for scene in unit))
    remaining = Counter(scene.source.name for scene in scenes)
    chosen: list[Scene] = []
    for unit in shuffled:
        own = Counter(scene.source.name for scene in unit)
        if len(chosen) + len(unit) <= count and all(remaining[name] > lost for name, lost in own.items()):
            chosen += unit
            remaining -= own
    if not chosen:  # every source is a single scene, or what shows the same pictures is more than is wanted
        chosen = _smallest(shuffled, count)
    return sorted(chosen, key=scenes.index)


def _smallest(units: list[list[Scene]], count: int) -> list[Scene]:
    """Return the smallest units, up to `count` scenes or one unit, but never all units."""
    chosen: list[Scene] = []
    for unit in sorted(units, key=len)[: len(units) - 1]:
        if not chosen or len(chosen) + len(unit) <= count:
            chosen += unit
    return chosen


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
