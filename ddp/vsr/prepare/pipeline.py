"""The pipeline from videos to a patch set: survey, split by scene, choose windows, write."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ddp.vsr.prepare.clips import CLIP_SETS, Progress, fetch_set
from ddp.vsr.prepare.manifest import (
    MANIFEST_FILE,
    Findings,
    PatchSettings,
    is_prepared,
    manifest_of,
    request_for_clips,
    request_for_videos,
    sha256_of_source,
)
from ddp.vsr.prepare.patch_writer import PatchWriter, labels_of
from ddp.vsr.prepare.scenes import Survey, survey
from ddp.vsr.prepare.split import Split, split_scenes
from ddp.vsr.prepare.video import DamagedVideoError, Source, find_sources
from ddp.vsr.prepare.windows import CutOut, Window, training_windows, validation_windows
from service.atomic_files import TEMPORARY_PREFIX, sync_folder, write_atomically
from service.errors import UserError

SMALL_COUNTS = {"patch_count": 480, "val_count": 8}  # for the small clips: more would be redundant
LARGE_COUNTS = {"patch_count": 2000, "val_count": 24}


@dataclass(frozen=True, kw_only=True)
class Material:
    """Sources of a set, those among them that are used for validation only, and their licences."""

    request: Mapping[str, Any]
    sources: tuple[Source, ...]
    held_out: frozenset[str] = frozenset()
    rights: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def prepare_clips(set_name: str, folder: Path, dataset: Path, settings: PatchSettings, progress: Progress) -> None:
    """Make the patch set of a set of clips, fetched into `folder`; an existing set needs no network.

    Raises UserError if the clips cannot be fetched or `dataset` contains something else.
    """
    request = request_for_clips(set_name)
    if _is_already_prepared(dataset, request, settings, progress):
        return
    paths = fetch_set(set_name, folder, progress)
    material = Material(
        request=request,
        sources=tuple(Source(path.name, path) for path in paths),
        held_out=frozenset(clip.name for clip in CLIP_SETS[set_name] if clip.role == "held-out"),
        rights={clip.name: {"licence": clip.licence, "origin": clip.origin} for clip in CLIP_SETS[set_name]},
    )
    _build_atomically(material, dataset, settings, progress)


def prepare_videos(folder: Path, dataset: Path, settings: PatchSettings, progress: Progress) -> None:
    """Make the patch set of all videos and image sequences below `folder`.

    Raises UserError if there are none, if they do not suffice, or if `dataset` contains something else.
    """
    sources = find_sources(folder, exclude=dataset)
    material = Material(request=request_for_videos(sources), sources=sources)
    if not _is_already_prepared(dataset, material.request, settings, progress):
        _build_atomically(material, dataset, settings, progress)


def _is_already_prepared(
    dataset: Path, request: Mapping[str, Any], settings: PatchSettings, progress: Progress
) -> bool:
    is_ready = is_prepared(dataset, request, settings)
    if is_ready:
        progress(f"{dataset} already holds this patch set: nothing to do")
    return is_ready


def _build_atomically(material: Material, dataset: Path, settings: PatchSettings, progress: Progress) -> None:
    """Build the set beside `dataset` and rename it; remove an incomplete set after an interruption."""
    dataset.parent.mkdir(parents=True, exist_ok=True)
    building = dataset.parent / f"{TEMPORARY_PREFIX}{dataset.name}.{os.getpid()}"
    building.mkdir()
    try:
        _build(material, building, settings, progress)
        building.replace(dataset)  # replaces an empty folder only
    except OSError as error:
        raise UserError(f"the patch set {dataset} could not be written: {error}") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    sync_folder(dataset.parent)
    progress(f"{dataset} is ready")


def _build(material: Material, folder: Path, settings: PatchSettings, progress: Progress) -> None:
    findings = Findings()
    hashes = _hash_all(material.sources, findings, progress)
    surveys = _survey_all(
        [source for source in material.sources if source.name in hashes], settings, findings, progress
    )
    surveys = _without_small(surveys, material.held_out, settings, findings, progress)
    split = split_scenes(surveys, material.held_out, settings.val_share, settings.frames, settings.seed)
    _report_split(split, surveys, settings, findings, progress)
    writer = PatchWriter(folder, settings.scale, settings.frames, settings.halve_from)
    writer.make_folders()
    _write_all(writer, surveys, _windows_of(split, surveys, settings), progress)
    findings.rejected = dict(writer.rejected)
    _check_written(writer, findings)
    provenance = {name: {"sha256": sha256, **_rights_of(material, name)} for name, sha256 in hashes.items()}
    content = manifest_of(material.request, settings, surveys, split, provenance, writer.written, findings)
    write_atomically(folder / MANIFEST_FILE, content)
    rejected = ", ".join(f"{count} {reason}" for reason, count in sorted(writer.rejected.items())) or "none"
    progress(f"{writer.written['Patches']} patches, {writer.written['Val']} validation images; rejected: {rejected}")


def _hash_all(sources: Sequence[Source], findings: Findings, progress: Progress) -> dict[str, str]:
    """Return the SHA-256 of every source, without copies of an earlier one, which could be on both sides."""
    hashes: dict[str, str] = {}
    for source in sources:
        sha256 = sha256_of_source(source)
        twin = next((name for name, other in hashes.items() if other == sha256), None)
        if twin is None:
            hashes[source.name] = sha256
        else:
            _skip(source.name, f"it has the same content as {twin}", findings, progress)
    return hashes


def _survey_all(
    sources: Sequence[Source], settings: PatchSettings, findings: Findings, progress: Progress
) -> list[Survey]:
    surveys = []
    for source in sources:
        progress(f"{source.name}: looking for scenes")
        try:
            found = survey(source, settings.halve_from)
        except DamagedVideoError as error:
            _skip(source.name, str(error), findings, progress)
            continue
        surveys.append(found)
        progress(f"{source.name}: {found.width}x{found.height}, {found.frame_count} frames, {len(found.scenes)} scenes")
        if found.damage:
            findings.damaged.append({"name": source.name, "reason": found.damage})
            progress(f"{source.name} is damaged ({found.damage}): used up to frame {found.frame_count - 1}")
    return surveys


def _without_small(
    surveys: list[Survey], held_out: frozenset[str], settings: PatchSettings, findings: Findings, progress: Progress
) -> list[Survey]:
    """Return the surveys without sources whose frames are smaller than a patch; held-out ones are used whole."""
    kept = []
    for found in surveys:
        needed = settings.scale if found.source.name in held_out else settings.patch_size
        if min(found.height, found.width) >= needed:
            kept.append(found)
        else:
            size = f"{found.width}x{found.height}"
            _skip(found.source.name, f"its frames are {size}, patches {needed}x{needed}", findings, progress)
    return kept


def _skip(name: str, reason: str, findings: Findings, progress: Progress) -> None:
    findings.skipped.append({"name": name, "reason": reason})
    progress(f"{name} is skipped: {reason}")


def _report_split(
    split: Split, surveys: list[Survey], settings: PatchSettings, findings: Findings, progress: Progress
) -> None:
    findings.warnings.extend(split.warnings)
    findings.windows_across_cuts = sum(
        max(0, found.frame_count - settings.frames + 1)
        - sum(scene.window_count(settings.frames) for scene in found.scenes)
        for found in surveys
    )
    for warning in split.warnings:
        progress(f"warning: {warning}")
    progress(f"{len(split.train)} scenes for training, {len(split.val)} for validation")


def _windows_of(split: Split, surveys: Sequence[Survey], settings: PatchSettings) -> list[Window]:
    common = {"scale": settings.scale, "n_frames": settings.frames, "seed": settings.seed}
    patch = CutOut(side="Patches", height=settings.patch_size, width=settings.patch_size, **common)
    val = CutOut(side="Val", height=settings.val_height, width=settings.val_width, **common)
    return [
        *training_windows(split.train, surveys, settings.patch_count, patch),
        *validation_windows(split.val, surveys, settings.val_count, val),
    ]


def _write_all(writer: PatchWriter, surveys: Sequence[Survey], windows: list[Window], progress: Progress) -> None:
    labels = labels_of([found.source.name for found in surveys])
    for found in surveys:
        own = [window for window in windows if window.scene.source == found.source]
        writer.write(found, labels[found.source.name], own)
        progress(f"{found.source.name}: {writer.written.total()} of {len(windows)} samples written")


def _check_written(writer: PatchWriter, findings: Findings) -> None:
    for side in ("Patches", "Val"):
        if not writer.written[side]:
            raise UserError(
                f"not one sample for {side} came out of the videos (rejected: {findings.rejected}; "
                f"skipped: {findings.skipped}): add videos with more detail or lower the patch size"
            )


def _rights_of(material: Material, name: str) -> Mapping[str, str]:
    return material.rights.get(name, {"licence": "not stated", "origin": "your own folder of videos"})
