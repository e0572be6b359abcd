"""`dataset.json`: sources and settings of a patch set. Written last, so that a set with a manifest is complete.

It shows whether a set is the requested one, and the source of every image in it. Never decodes video.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ddp.vsr.prepare.frames.colours import CONVERSION
from ddp.vsr.prepare.resize import DEGRADATIONS
from ddp.vsr.prepare.scenes import Scene, Survey
from ddp.vsr.prepare.selection.split import Split
from ddp.vsr.prepare.sources import Source
from ddp.vsr.unreadable import reason_of
from service.atomic_files import sha256_of
from service.errors import UserError, plain_reason

MANIFEST_FILE = "dataset.json"
MANIFEST_VERSION = 1
SHOWN_NAMES = 5
HDR_CHOICES = ("map", "leave-out")
HASH_METHOD = "DCT, 64 bits a frame, of 64x36 grey pixels"


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
    degradation: str = "bicubic"
    """How LR is made of GT, a name in `resize.DEGRADATIONS`; sets of earlier versions, which lack it, are bicubic."""
    hdr: str = "map"
    """What becomes of HDR video, one of `HDR_CHOICES`; sets of earlier versions, which lack it, left it out."""

    def __post_init__(self) -> None:
        if self.scale not in (2, 3, 4):
            raise UserError(f"the scale is {self.scale}, but must be 2, 3 or 4")
        if self.frames < 1 or self.frames % 2 == 0:
            raise UserError(f"the number of frames is {self.frames}, but must be odd: the centre frame is the target")
        if self.patch_size < 1 or self.patch_size % self.scale:
            raise UserError(f"the patch size is {self.patch_size}, but must be a multiple of the scale {self.scale}")
        if min(self.patch_count, self.val_count) < 1 or min(self.val_width, self.val_height) < self.scale:
            raise UserError("the numbers and sizes of patches and validation images must all be positive")
        if self.degradation not in DEGRADATIONS:
            raise UserError(f"the degradation is {self.degradation!r}, but must be one of {', '.join(DEGRADATIONS)}")
        if self.hdr not in HDR_CHOICES:
            raise UserError(f"HDR is to be {self.hdr!r}, but must be one of {', '.join(HDR_CHOICES)}")
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
        "conversion": CONVERSION,
    }
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def frame_hashes_of(surveys: Sequence[Survey]) -> bytes:
    """Return the content of `frame_hashes.json`, by which sets are compared with each other."""
    content = {"method": HASH_METHOD, "sources": {found.source.name: found.frame_hashes for found in surveys}}
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def is_prepared(dataset: Path, request: Mapping[str, Any], settings: PatchSettings) -> bool:
    """Return whether `dataset` already is the requested set.

    Returns False if it is missing or empty. Raises UserError if it contains something else, which is never changed.
    """
    return _is_prepared(dataset, settings, lambda found: _request_difference(found, request))


def is_prepared_from_videos(dataset: Path, settings: PatchSettings) -> bool:
    """Return whether `dataset` is a set with these settings, of whatever videos. Raises UserError as `is_prepared`."""
    return _is_prepared(dataset, settings, lambda found: "" if "videos" in found else f"made from {_describe(found)}")


def videos_apart(dataset: Path, request: Mapping[str, Any]) -> str:
    """Return how the videos of a request differ from those that a prepared set was made from; empty if not at all.

    Raises UserError if they have none in common: then another set is asked for.
    """
    before: Mapping[str, int] = _read(dataset / MANIFEST_FILE)[1].get("videos", {})
    now: Mapping[str, int] = request["videos"]
    if now and not before.keys() & now.keys():
        difference = _request_difference({"videos": before}, request)
        raise UserError(_refusal(dataset, [difference]))
    parts = {
        "new": sorted(now.keys() - before.keys()),
        "gone": sorted(before.keys() - now.keys()),
        "changed": sorted(name for name in before.keys() & now.keys() if before[name] != now[name]),
    }
    return "; ".join(f"{what}: {_listed(names)}" for what, names in parts.items() if names)


def note_on_conversion(dataset: Path) -> str:
    """Return a clause about the colours of a prepared set of an earlier version; empty if they are of this one."""
    if "conversion" in json.loads((dataset / MANIFEST_FILE).read_text(encoding="utf-8")):
        return ""
    return " (an earlier version made it: pictures from video are 1 to 2 levels darker than they would be now)"


def _is_prepared(
    dataset: Path, settings: PatchSettings, request_difference: Callable[[Mapping[str, Any]], str]
) -> bool:
    if not dataset.exists() or (dataset.is_dir() and not any(dataset.iterdir())):
        return False
    path = dataset / MANIFEST_FILE
    if not path.is_file():
        raise UserError(
            f"{dataset} holds files that were not prepared here (no {MANIFEST_FILE}): without VIDEO_ROOT they "
            f"are read as they are; to prepare a set, take another DATASET_ROOT"
        )
    found_settings, found_request = _read(path)
    differences = [*_setting_differences(found_settings, settings), *filter(None, [request_difference(found_request)])]
    if differences:
        raise UserError(_refusal(dataset, differences))
    return True


def _refusal(dataset: Path, differences: list[str]) -> str:
    return (
        f"{dataset} holds a patch set made with other settings ({'; '.join(differences)}): take another DATASET_ROOT "
        f"for another set; runs that were trained on this one need it as it is"
    )


def make_folder(folder: Path) -> None:
    """Create a folder for what is prepared, and its parents. Raises UserError if that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"the folder {folder} for the patch set cannot be created ({error.strerror}): give another one with "
            "DATASET_ROOT, or make it writable"
        ) from None


def sha256_of_source(source: Source) -> str:
    """Return the SHA-256 of a video file; for a folder of images, of its file names and hashes in order.

    Raises OSError if the video or the folder cannot be read; an image that cannot be read counts with the reason.
    """
    if not source.is_sequence:
        return sha256_of(source.path)
    listing = "".join(f"{path.name} {_sha256_or_reason(path)}\n" for path in source.files())
    return hashlib.sha256(listing.encode()).hexdigest()


def _sha256_or_reason(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        return reason_of(error)


def request_for_videos(sources: Iterable[Source]) -> dict[str, Any]:
    """Return the identity of a set made from videos: names and sizes, because hashing films takes minutes."""
    return {"videos": {source.name: size_of_source(source) for source in sources}}


def size_of_source(source: Source) -> int:
    """Return the bytes of all files of a source; 0 if one has vanished or cannot be asked."""
    try:
        return sum(path.stat().st_size for path in source.files())
    except OSError:
        return 0


def request_for_clips(set_name: str) -> dict[str, Any]:
    """Return the identity of a set made from clips, whose content the table fixes."""
    return {"clips": set_name}


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return settings and request of a manifest. Raises UserError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return dict(content["settings"]), dict(content["request"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path} is no description of a patch set ({plain_reason(error)}): move its folder away, or take another"
        ) from error


def _setting_differences(found: Mapping[str, Any], settings: PatchSettings) -> list[str]:
    wanted = asdict(settings)
    # Sets of earlier versions stay usable, whatever is asked of HDR now.
    found = {"degradation": PatchSettings.degradation, "hdr": settings.hdr, **found}
    return [
        f"{key} {found.get(key)} there, {wanted.get(key)} asked for"
        for key in sorted(found.keys() | wanted.keys())
        if found.get(key) != wanted.get(key)
    ]


def _request_difference(found: Mapping[str, Any], request: Mapping[str, Any]) -> str:
    return "" if found == request else f"made from {_describe(found)}, asked for {_describe(request)}"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


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
        "colours": survey.colours,
        "deinterlaced": survey.deinterlaced,
    }


def _scene_entries(scene: Scene, split: Split) -> list[dict[str, Any]]:
    """Return one entry per side of the scene; a scene too short for one window is on no side."""
    parts = [(side, part) for side, parts in (("Patches", split.train), ("Val", split.val)) for part in parts]
    own = [(side, part) for side, part in parts if (part.source, part.index) == (scene.source, scene.index)]
    return [
        {"index": part.index, "first_frame": part.first_frame, "frame_count": part.frame_count, "side": side}
        for side, part in own or [("", scene)]
    ]
