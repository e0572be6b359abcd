"""The pipeline from videos to a patch set: survey, split by scene, choose windows, write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from ddp.vsr.contact_sheet import SHEET_FILE, save_contact_sheet
from ddp.vsr.prepare.clips import CLIP_SETS, Progress, fetch_set
from ddp.vsr.prepare.croissant import CROISSANT_FILE, croissant_of
from ddp.vsr.prepare.jobs.cutting import Cut, Part, cut_all, parts_of
from ddp.vsr.prepare.jobs.progress import ProgressMeter
from ddp.vsr.prepare.jobs.surveying import Surveyor, hash_all
from ddp.vsr.prepare.jobs.work_folder import WorkFolder, work_folder, work_path
from ddp.vsr.prepare.manifest import (
    MANIFEST_FILE,
    Findings,
    PatchSettings,
    frame_hashes_of,
    is_prepared,
    is_prepared_from_videos,
    make_folder,
    manifest_of,
    note_on_conversion,
    request_for_clips,
    request_for_videos,
    videos_apart,
)
from ddp.vsr.prepare.patch_writer import labels_of
from ddp.vsr.prepare.scenes import Survey
from ddp.vsr.prepare.selection.frame_hashes import HASHES_FILE
from ddp.vsr.prepare.selection.split import Split, split_scenes
from ddp.vsr.prepare.selection.windows import CutOut, Window, training_windows, validation_windows
from ddp.vsr.prepare.sources import Source, find_sources
from ddp.vsr.unreadable import Skipped
from service.atomic_files import sync_folder, write_atomically
from service.errors import UserError, reason_and_remedy

SMALL_COUNTS = {"patch_count": 480, "val_count": 8}  # for the small clips: more would be redundant
LARGE_COUNTS = {"patch_count": 2000, "val_count": 24}


@dataclass(frozen=True)
class Work:
    """How the work is done, which changes nothing of the set: by how many processes, and where lines are shown.

    `live` replaces a line on a terminal; without it, progress is shown by lines now and then.
    """

    show: Progress
    workers: int = 1
    live: Progress | None = None

    def meter(self) -> ProgressMeter:
        """Return what shows the progress of phases."""
        return ProgressMeter(self.show, self.live)


@dataclass(frozen=True, kw_only=True)
class Material:
    """Sources of a set, those among them that are used for validation only, and their licences."""

    request: Mapping[str, Any]
    sources: tuple[Source, ...]
    held_out: frozenset[str] = frozenset()
    rights: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()
    """What was found beside the sources and cannot be used."""


def prepare_clips(set_name: str, folder: Path, dataset: Path, settings: PatchSettings, work: Work) -> None:
    """Make the patch set of a set of clips, fetched into `folder`; an existing set needs no network.

    Raises UserError if the clips cannot be fetched or `dataset` contains something else.
    """
    request = request_for_clips(set_name)
    if _is_already_prepared(dataset, request, settings, work.show):
        return
    paths = fetch_set(set_name, folder, work.show)
    material = Material(
        request=request,
        sources=tuple(Source(path.name, path) for path in paths),
        held_out=frozenset(clip.name for clip in CLIP_SETS[set_name] if clip.role == "held-out"),
        rights={clip.name: {"licence": clip.licence, "origin": clip.origin} for clip in CLIP_SETS[set_name]},
    )
    _build_atomically(material, dataset, settings, work)


def prepare_videos(folder: Path, dataset: Path, settings: PatchSettings, work: Work, *, keep: bool = False) -> None:
    """Make the patch set of all videos and image sequences below `folder`.

    With `keep`, a set of these settings stays if the videos are others now, or away. Raises UserError if there are
    none, if they do not suffice, or if `dataset` contains something else.
    """
    if keep and is_prepared_from_videos(dataset, settings):
        work.show(_kept_sentence(folder, dataset))
        return
    found = find_sources(folder, exclude=dataset)
    material = Material(request=request_for_videos(found.sources), sources=found.sources, skipped=found.skipped)
    if not _is_already_prepared(dataset, material.request, settings, work.show):
        _build_atomically(material, dataset, settings, work)


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


def _build_atomically(material: Material, dataset: Path, settings: PatchSettings, work: Work) -> None:
    """Build the set beside `dataset` and rename it; finished parts stay after an interruption, for the next start."""
    make_folder(dataset.parent)
    try:
        with work_folder(dataset, lambda who: work.show(f"{dataset} is being made by {who}: waiting for it")) as folder:
            if not _is_already_prepared(dataset, material.request, settings, work.show):
                _make(material, folder, dataset, settings, work)
    except OSError as error:
        raise UserError(
            f"the patch set {dataset} could not be written ({reason_and_remedy(error)}); or take another one. "
            f"The same command goes on with what is done, which is in {work_path(dataset)}"
        ) from error


def _make(material: Material, folder: WorkFolder, dataset: Path, settings: PatchSettings, work: Work) -> None:
    """Build the set and put it into its place. Raises `OSError`, and `UserError`, which leaves nothing."""
    if folder.has_parts():
        work.show("Going on with what an earlier start has done")
    try:
        _Building(material, folder, settings, work).build()
    except UserError:
        folder.remove()
        raise
    folder.finish(dataset)
    sync_folder(dataset.parent)
    work.show(f"{dataset} is ready; to look at: {dataset / SHEET_FILE}")


class _Building:
    """One set on its way from sources to samples."""

    def __init__(self, material: Material, folder: WorkFolder, settings: PatchSettings, work: Work) -> None:
        self._material = material
        self._folder = folder
        self._settings = settings
        self._work = work
        self._findings = Findings()
        self._meter = work.meter()
        self._surveyor = Surveyor(folder, settings.halve_from, work.workers, self._meter, settings.hdr == "map")

    def build(self) -> None:
        """Make all files of the set. Raises `OSError` and `UserError`."""
        material, settings, findings, show = self._material, self._settings, self._findings, self._work.show
        for item in material.skipped:
            self._skip(item.name, item.reason)
        sums = self._hash_all()
        surveys = self._without_useless(self._survey_all(sums))
        split = split_scenes(surveys, material.held_out, settings.val_share, settings.frames, settings.seed)
        self._report_split(split, surveys)
        cut = self._cut(sums, surveys, _windows_of(split, surveys, settings))
        _check_written(cut, findings)
        provenance = {source.name: {"sha256": sum, **_rights_of(material, source.name)} for source, sum in sums.items()}
        content = manifest_of(material.request, settings, surveys, split, provenance, cut.written, findings)
        save_contact_sheet(self._folder.path, settings.frames)
        write_atomically(self._folder.path / HASHES_FILE, frame_hashes_of(surveys))
        write_atomically(self._folder.path / CROISSANT_FILE, croissant_of(content, MANIFEST_FILE, date.today()))
        write_atomically(self._folder.path / MANIFEST_FILE, content)
        written, rejected = cut.written, _rejected_text(cut.rejected)
        show(f"{written['Patches']} patches, {written['Val']} validation images; rejected: {rejected}")

    def _hash_all(self) -> dict[Source, str]:
        """Return the SHA-256 of every source, without copies of an earlier one, which could be on both sides."""
        sums: dict[Source, str] = {}
        for source, found in hash_all(self._material.sources, self._work.workers, self._meter).items():
            if isinstance(found, Skipped):
                self._skip(found.name, found.reason)
            elif twin := next((other.name for other, sha256 in sums.items() if sha256 == found), ""):
                self._skip(source.name, f"it has the same content as {twin}")
            else:
                sums[source] = found
        return sums

    def _survey_all(self, sums: Mapping[Source, str]) -> list[Survey]:
        surveys = []
        for source, found in self._surveyor.survey_all(sums).items():
            if isinstance(found, Skipped):
                self._skip(found.name, found.reason)
            else:
                surveys.append(found)
                self._report_survey(source.name, found)
        return surveys

    def _report_survey(self, name: str, found: Survey) -> None:
        show = self._work.show
        for item in found.skipped:
            self._skip(f"{name}/{item.name}", item.reason)
        show(f"{name}: {found.width}x{found.height}, {found.frame_count} frames, {len(found.scenes)} scenes")
        if found.damage:
            self._findings.damaged.append({"name": name, "reason": found.damage})
            show(f"{name} is damaged ({found.damage}): used up to frame {found.frame_count - 1}")

    def _without_useless(self, surveys: list[Survey]) -> list[Survey]:
        """Return the surveys without sources that can give no sample: too short, or too small for a patch."""
        kept = []
        for found in surveys:
            if reason := self._useless_reason(found):
                self._skip(found.source.name, reason)
            else:
                kept.append(found)
        return kept

    def _useless_reason(self, found: Survey) -> str:
        """Return why a source gives no sample, empty if it may; held-out ones are used whole, however small."""
        needed = self._settings.scale if found.source.name in self._material.held_out else self._settings.patch_size
        if min(found.height, found.width) < needed:
            return f"its frames are {found.width}x{found.height}, patches {needed}x{needed}"
        longest = max(scene.frame_count for scene in found.scenes)
        if longest < self._settings.frames:
            return f"its longest scene has {longest} frames, but a sample takes {self._settings.frames} (N_FRAMES)"
        return ""

    def _skip(self, name: str, reason: str) -> None:
        self._findings.skipped.append({"name": name, "reason": reason})
        self._work.show(f"{name} is skipped: {reason}")

    def _report_split(self, split: Split, surveys: list[Survey]) -> None:
        n_frames = self._settings.frames
        self._findings.warnings.extend(split.warnings)
        self._findings.windows_across_cuts = sum(
            max(0, found.frame_count - n_frames + 1) - sum(scene.window_count(n_frames) for scene in found.scenes)
            for found in surveys
        )
        for warning in split.warnings:
            self._work.show(f"warning: {warning}")
        self._work.show(f"{len(split.train)} scenes for training, {len(split.val)} for validation")

    def _cut(self, sums: Mapping[Source, str], surveys: Sequence[Survey], windows: Sequence[Window]) -> Cut:
        labels = labels_of([found.source.name for found in surveys])
        parts: list[Part] = []
        for found in surveys:
            own = [window for window in windows if window.scene.source == found.source]
            parts += parts_of(found, sums[found.source], labels[found.source.name], own, self._settings)
        kept = [self._surveyor.key_of(source, sha256) for source, sha256 in sums.items()]
        cut = cut_all(self._folder, parts, self._settings, self._work.workers, self._meter, kept)
        for name, reason in cut.crashes.items():
            self._findings.damaged.append({"name": name, "reason": reason})
            self._work.show(f"{name} is damaged ({reason}): used as far as it was read")
        self._findings.rejected = dict(cut.rejected)
        return cut


def _windows_of(split: Split, surveys: Sequence[Survey], settings: PatchSettings) -> list[Window]:
    common = {"scale": settings.scale, "n_frames": settings.frames, "seed": settings.seed}
    patch = CutOut(side="Patches", height=settings.patch_size, width=settings.patch_size, **common)
    val = CutOut(side="Val", height=settings.val_height, width=settings.val_width, **common)
    return [
        *training_windows(split.train, surveys, settings.patch_count, patch),
        *validation_windows(split.val, surveys, settings.val_count, val),
    ]


def _rejected_text(rejected: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(rejected.items())) or "none"


def _check_written(cut: Cut, findings: Findings) -> None:
    for side in ("Patches", "Val"):
        if not cut.written[side]:
            raise UserError(
                f"not one sample for {side} came out of the videos (rejected: "
                f"{_rejected_text(cut.rejected)}; videos skipped: {len(findings.skipped)}): add videos with more "
                "detail or lower the patch size"
            )


def _rights_of(material: Material, name: str) -> Mapping[str, str]:
    return material.rights.get(name, {"licence": "not stated", "origin": "your own folder of videos"})
