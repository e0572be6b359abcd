"""`dataset.json`: sources and settings of a patch set. Written last, so that a set with a manifest is complete.

It shows whether a set is the requested one, and the source of every image in it. Never decodes video.
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
    """Settings of a patch set. Sizes are in GT pixels; `frames` is the number of LR frames per sample."""

    scale: int = 3
    frames: int = 5
    patch_size: int = 192
    val_width: int = 360
    val_height: int = 240
    patch_count: int = 480
    val_count: int = 8
    val_share: float = 0.1
    """Share of the scenes, without held-out sources, that is used for validation."""
    halve_from: int = 720
    """Frames whose shorter side has at least this many pixels are halved; 0 disables it."""
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
    """Findings about sources and windows that gave no samples; collected while a set is made."""

    skipped: list[dict[str, str]] = field(default_factory=list)
    """Skipped sources, with `name` and `reason`."""
    damaged: list[dict[str, str]] = field(default_factory=list)
    """Sources that were used up to a damaged frame, with `name` and `reason`."""
    rejected: Mapping[str, int] = field(default_factory=dict)
    """Windows that gave no sample, by reason."""
    windows_across_cuts: int = 0
    warnings: list[str] = field(default_factory=list)


def manifest_of(
    request: Mapping[str, Any],
    settings: PatchSettings,
    surveys: Sequence[Survey],
    split: Split,
    provenance: Mapping[str, Mapping[str, str]],
    written: Mapping[str, int],
    findings: Findings,
) -> bytes:
    """Return the content of `dataset.json`; `provenance` holds sha256, licence and origin by source name."""
    content = {
        "version": MANIFEST_VERSION,
        "request": request,
        "settings": asdict(settings),
        "counts": {"Patches": written["Patches"], "Val": written["Val"]},
        "sources": [_source_entry(survey, split, provenance[survey.source.name]) for survey in surveys],
        **asdict(findings),
    }
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def is_prepared(dataset: Path, request: Mapping[str, Any], settings: PatchSettings) -> bool:
    """Return whether `dataset` already is the requested set.

    Returns False if it is missing or empty. Raises UserError if it contains something else, which is never changed.
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
    """Return the SHA-256 of a video file; for a folder of images, of its file names and hashes in order."""
    if not source.is_sequence:
        return sha256_of(source.path)
    listing = "".join(f"{path.name} {sha256_of(path)}\n" for path in source.files())
    return hashlib.sha256(listing.encode()).hexdigest()


def request_for_videos(sources: Iterable[Source]) -> dict[str, Any]:
    """Return the identity of a set made from videos: names and sizes, because hashing films takes minutes."""
    return {"videos": {source.name: sum(path.stat().st_size for path in source.files()) for source in sources}}


def request_for_clips(set_name: str) -> dict[str, Any]:
    """Return the identity of a set made from clips, whose content the table fixes."""
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
        differences.append(f"made from {_describe(found_request)}, asked for {_describe(request)}")
    return differences


def _describe(request: Mapping[str, Any]) -> str:
    if "clips" in request:
        return f"the clips {request['clips']!r}"
    return f"the {len(request.get('videos', ()))} videos {', '.join(sorted(request.get('videos', ())))[:200]}"


def _source_entry(survey: Survey, split: Split, provenance: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": survey.source.name,
        **provenance,
        "height": survey.height,
        "width": survey.width,
        "frame_count": survey.frame_count,
        "frames_per_second": survey.frames_per_second,
        "scenes": [entry for scene in survey.scenes for entry in _scene_entries(scene, split)],
    }


def _scene_entries(scene: Scene, split: Split) -> list[dict[str, Any]]:
    """Return one entry per side of the scene; a scene too short for one window is on no side."""
    parts = [(side, part) for side, parts in (("Patches", split.train), ("Val", split.val)) for part in parts]
    own = [(side, part) for side, part in parts if (part.source, part.index) == (scene.source, scene.index)]
    return [
        {"index": part.index, "first_frame": part.first_frame, "frame_count": part.frame_count, "side": side}
        for side, part in own or [("", scene)]
    ]
