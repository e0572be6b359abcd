"""`dataset.json`: what a patch set was made from and how. Written last, so that a set that has one is whole.

It answers whether a set is the one that is asked for, and where every picture in it comes from. Never decodes video.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ddp.vsr.prepare.scenes import Scene, Survey
from ddp.vsr.prepare.split import Split
from ddp.vsr.prepare.video import Source
from service.atomic_files import sha256_of
from service.errors import UserError

MANIFEST_FILE = "dataset.json"
MANIFEST_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class PatchSettings:
    """How a patch set is made. Sizes are in GT pixels; `frames` is the number of LR frames per sample."""

    scale: int = 3
    frames: int = 5
    patch_size: int = 192
    val_width: int = 360
    val_height: int = 240
    patch_count: int = 480
    val_count: int = 8
    val_share: float = 0.1
    """Share of the scenes, held-out sources aside, that is validated on."""
    halve_from: int = 720
    """Frames whose shorter side has at least this many pixels are halved; 0 never."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.scale not in (2, 3, 4):
            raise UserError(f"the scale is {self.scale}, but must be 2, 3 or 4")
        if self.frames < 1 or self.frames % 2 == 0:
            raise UserError(f"the number of frames is {self.frames}, but must be odd: the centre frame is the target")
        if self.patch_size < 1 or self.patch_size % self.scale:
            raise UserError(f"the patch size is {self.patch_size}, but must be a multiple of the scale {self.scale}")
        if min(self.patch_count, self.val_count) < 1 or min(self.val_width, self.val_height) < self.scale:
            raise UserError("the numbers and sizes of patches and validation images must all be positive")
        if not 0 <= self.val_share < 1:
            raise UserError(f"the validation share is {self.val_share}, but must be at least 0 and below 1")


@dataclass
class Findings:
    """What was found on the way and did not become a sample; filled while a set is made."""

    skipped: list[dict[str, str]] = field(default_factory=list)
    """Sources that were left out, with `name` and `reason`."""
    damaged: list[dict[str, str]] = field(default_factory=list)
    """Sources that were used up to a damage, with `name` and `reason`."""
    rejected: Mapping[str, int] = field(default_factory=dict)
    """Windows that gave no sample, by reason."""
    windows_across_cuts: int = 0
    warnings: list[str] = field(default_factory=list)


def manifest_of(
    request: Mapping[str, Any],
    settings: PatchSettings,
    surveys: Sequence[Survey],
    split: Split,
    facts: Mapping[str, Mapping[str, str]],
    written: Mapping[str, int],
    findings: Findings,
) -> bytes:
    """The content of `dataset.json`; `facts` holds sha256, licence and origin by the source's name."""
    content = {
        "version": MANIFEST_VERSION,
        "request": request,
        "settings": asdict(settings),
        "counts": {"Patches": written["Patches"], "Val": written["Val"]},
        "sources": [_source_entry(survey, split, facts[survey.source.name]) for survey in surveys],
        **asdict(findings),
    }
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def is_prepared(dataset: Path, request: Mapping[str, Any], settings: PatchSettings) -> bool:
    """Whether `dataset` already holds exactly what is asked for.

    False where there is nothing yet. Raises UserError where there is something else, which is never touched.
    """
    if not dataset.exists() or (dataset.is_dir() and not any(dataset.iterdir())):
        return False
    path = dataset / MANIFEST_FILE
    if not path.is_file():
        raise UserError(
            f"{dataset} holds files that were not prepared here (no {MANIFEST_FILE}): a patch set of your own is read "
            f"as it is; to prepare one, take another DATASET_ROOT"
        )
    differences = _differences(path, request, settings)
    if differences:
        raise UserError(
            f"{dataset} holds a patch set made with other settings ({'; '.join(differences)}): "
            f"take another DATASET_ROOT, or remove the folder to have it made anew"
        )
    return True


def sha256_of_source(source: Source) -> str:
    """The sha256 of a video file; for a folder of images, that of its files' names and hashes in order."""
    if not source.is_sequence:
        return sha256_of(source.path)
    listing = "".join(f"{path.name} {sha256_of(path)}\n" for path in source.files())
    return hashlib.sha256(listing.encode()).hexdigest()


def request_for_videos(sources: Iterable[Source]) -> dict[str, Any]:
    """What identifies a set made from videos: names and sizes, since hashing films takes minutes at every start."""
    return {"videos": {source.name: sum(path.stat().st_size for path in source.files()) for source in sources}}


def request_for_clips(set_name: str) -> dict[str, Any]:
    """What identifies a set made from clips, whose content is fixed by their table."""
    return {"clips": set_name}


def _differences(path: Path, request: Mapping[str, Any], settings: PatchSettings) -> list[str]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found_settings, found_request = dict(content["settings"]), content["request"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read as the description of a patch set ({error})") from error
    wanted = asdict(settings)
    keys = sorted(found_settings.keys() | wanted.keys())
    differences = [
        f"{key} {found_settings.get(key)} there, {wanted.get(key)} asked for"
        for key in keys
        if found_settings.get(key) != wanted.get(key)
    ]
    if found_request != request:
        differences.append(f"made from {_words(found_request)}, asked for {_words(request)}")
    return differences


def _words(request: Mapping[str, Any]) -> str:
    if "clips" in request:
        return f"the clips {request['clips']!r}"
    return f"the {len(request.get('videos', ()))} videos {', '.join(sorted(request.get('videos', ())))[:200]}"


def _source_entry(survey: Survey, split: Split, facts: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": survey.source.name,
        **facts,
        "height": survey.height,
        "width": survey.width,
        "frame_count": survey.frame_count,
        "frames_per_second": survey.frames_per_second,
        "scenes": [entry for scene in survey.scenes for entry in _scene_entries(scene, split)],
    }


def _scene_entries(scene: Scene, split: Split) -> list[dict[str, Any]]:
    """One entry per side that the scene is on; a scene too short for one window is on none."""
    parts = [(side, part) for side, parts in (("Patches", split.train), ("Val", split.val)) for part in parts]
    own = [(side, part) for side, part in parts if (part.source, part.index) == (scene.source, scene.index)]
    return [
        {"index": part.index, "first_frame": part.first_frame, "frame_count": part.frame_count, "side": side}
        for side, part in own or [("", scene)]
    ]
