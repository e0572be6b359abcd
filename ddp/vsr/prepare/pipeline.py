"""The pipeline from videos to a patch set: survey, split by scene, choose windows, write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from ddp.vsr.contact_sheet import SHEET_FILE, save_contact_sheet
from ddp.vsr.prepare.clips import CLIP_SETS, Progress, fetch_set
from ddp.vsr.prepare.croissant import CROISSANT_FILE, croissant_of
from ddp.vsr.prepare.manifest import (
    MANIFEST_FILE,
    Findings,
    PatchSettings,
    is_prepared,
    is_prepared_from_videos,
    make_folder,
    manifest_of,
    note_on_conversion,
    request_for_clips,
    request_for_videos,
    sha256_of_source,
    videos_apart,
)
from ddp.vsr.prepare.patch_writer import PatchWriter, labels_of
from ddp.vsr.prepare.scenes import Survey, survey
from ddp.vsr.prepare.sources import Source, find_sources
from ddp.vsr.prepare.split import Split, split_scenes
from ddp.vsr.prepare.video import DamagedVideoError
from ddp.vsr.prepare.windows import CutOut, Window, training_windows, validation_windows
from ddp.vsr.unreadable import Skipped, reason_of
from service.atomic_files import sync_folder, write_atomically
from service.errors import UserError, reason_and_remedy
from service.run.building import building_folder, finish

SMALL_COUNTS = {"patch_count": 480, "val_count": 8}  # for the small clips: more would be redundant
LARGE_COUNTS = {"patch_count": 2000, "val_count": 24}


@dataclass(frozen=True, kw_only=True)
class Material:
    """Sources of a set, those among them that are used for validation only, and their licences."""

    request: Mapping[str, Any]
    sources: tuple[Source, ...]
    held_out: frozenset[str] = frozenset()
    rights: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()
    """What was found beside the sources and cannot be used."""


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


def prepare_videos(
    folder: Path, dataset: Path, settings: PatchSettings, progress: Progress, *, keep: bool = False
) -> None:
    """Make the patch set of all videos and image sequences below `folder`.

    With `keep`, a set of these settings stays if the videos are others now, or away. Raises UserError if there are
    none, if they do not suffice, or if `dataset` contains something else.
    """
    if keep and is_prepared_from_videos(dataset, settings):
        progress(_kept_sentence(folder, dataset))
        return
    found = find_sources(folder, exclude=dataset)
    material = Material(request=request_for_videos(found.sources), sources=found.sources, skipped=found.skipped)
    if not _is_already_prepared(dataset, material.request, settings, progress):
        _build_atomically(material, dataset, settings, progress)


def _kept_sentence(folder: Path, dataset: Path) -> str:
    """Return a line about a set that stays as it is. Raises UserError if the videos are all others."""
    try:
        found = find_sources(folder, exclude=dataset)
    except UserError as error:
        return f"{dataset} stays as it is, although its videos are not there: {error}"
    difference = videos_apart(dataset, request_for_videos(found.sources))
    if difference:
        advice = "for a set of these, take another DATASET_ROOT"
        return f"{dataset} stays as it is, although the videos differ ({difference}): {advice}"
    return f"{dataset} already holds this patch set: nothing to do{note_on_conversion(dataset)}"


def _is_already_prepared(
    dataset: Path, request: Mapping[str, Any], settings: PatchSettings, progress: Progress
) -> bool:
    is_ready = is_prepared(dataset, request, settings)
    if is_ready:
        progress(f"{dataset} already holds this patch set: nothing to do{note_on_conversion(dataset)}")
    return is_ready


def _build_atomically(material: Material, dataset: Path, settings: PatchSettings, progress: Progress) -> None:
    """Build the set beside `dataset` and rename it; remove an incomplete set after an interruption."""
    make_folder(dataset.parent)
    try:
        with building_folder(dataset) as building:
            _build(material, building, settings, progress)
            finish(building, dataset)
    except OSError as error:
        raise UserError(
            f"the patch set {dataset} could not be written ({reason_and_remedy(error)}); or take another one"
        ) from error
    sync_folder(dataset.parent)
    progress(f"{dataset} is ready; to look at: {dataset / SHEET_FILE}")


def _build(material: Material, folder: Path, settings: PatchSettings, progress: Progress) -> None:
    findings = Findings()
    for item in material.skipped:
        _skip(item.name, item.reason, findings, progress)
    hashes = _hash_all(material.sources, findings, progress)
    surveys = _survey_all(
        [source for source in material.sources if source.name in hashes], settings, findings, progress
    )
    surveys = _without_small(surveys, material.held_out, settings, findings, progress)
    split = split_scenes(surveys, material.held_out, settings.val_share, settings.frames, settings.seed)
    _report_split(split, surveys, settings, findings, progress)
    writer = PatchWriter(folder, settings.scale, settings.frames, settings.halve_from, settings.degradation)
    writer.make_folders()
    _write_all(writer, surveys, _windows_of(split, surveys, settings), progress)
    findings.rejected = dict(writer.rejected)
    _check_written(writer, findings)
    provenance = {name: {"sha256": sha256, **_rights_of(material, name)} for name, sha256 in hashes.items()}
    content = manifest_of(material.request, settings, surveys, split, provenance, writer.written, findings)
    save_contact_sheet(folder, settings.frames)
    write_atomically(folder / CROISSANT_FILE, croissant_of(content, MANIFEST_FILE, date.today()))
    write_atomically(folder / MANIFEST_FILE, content)
    rejected = _rejected_text(writer.rejected)
    progress(f"{writer.written['Patches']} patches, {writer.written['Val']} validation images; rejected: {rejected}")


def _hash_all(sources: Sequence[Source], findings: Findings, progress: Progress) -> dict[str, str]:
    """Return the SHA-256 of every source, without copies of an earlier one, which could be on both sides."""
    hashes: dict[str, str] = {}
    for source in sources:
        try:
            sha256 = sha256_of_source(source)
        except OSError as error:
            _skip(source.name, reason_of(error), findings, progress)
            continue
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
        for item in found.skipped:
            _skip(f"{source.name}/{item.name}", item.reason, findings, progress)
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


def _rejected_text(rejected: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(rejected.items())) or "none"


def _check_written(writer: PatchWriter, findings: Findings) -> None:
    for side in ("Patches", "Val"):
        if not writer.written[side]:
            raise UserError(
                f"not one sample for {side} came out of the videos (rejected: "
                f"{_rejected_text(findings.rejected)}; videos skipped: {len(findings.skipped)}): add videos with more "
                "detail or lower the patch size"
            )


def _rights_of(material: Material, name: str) -> Mapping[str, str]:
    return material.rights.get(name, {"licence": "not stated", "origin": "your own folder of videos"})
