"""Second part of a preparation: the samples of a set, cut by worker processes in parts that are kept.

A part is some windows of one scene. Those of one first frame are never parted, since the first of them that takes a
place keeps it. Never decides which windows there are.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from ddp.vsr.prepare.jobs.processes import Crash, Report, run_tasks
from ddp.vsr.prepare.jobs.progress import ProgressMeter
from ddp.vsr.prepare.jobs.work_folder import FILES, WorkFolder, part_key
from ddp.vsr.prepare.manifest import PatchSettings
from ddp.vsr.prepare.patch_writer import PatchWriter
from ddp.vsr.prepare.scenes import Survey
from ddp.vsr.prepare.selection.windows import Window

PART_WINDOWS = 32


@dataclass(frozen=True)
class Part:
    """Windows of one scene of a survey, in the order of their first frames; `label` begins the names of their files."""

    survey: Survey
    label: str
    windows: tuple[Window, ...]
    key: str


@dataclass(frozen=True)
class CutTask:
    """Cuts parts of one source while it decodes it once; reports how many windows are done."""

    folder: WorkFolder
    settings: PatchSettings
    parts: tuple[Part, ...]

    def __call__(self, report: Report) -> None:
        """Write the files of each part, and keep the part when they are written. Raises `OSError`."""
        waiting, done = list(self.parts), 0
        writer = self._writer()

        def on_done(window: Window) -> None:
            nonlocal writer, done
            done += 1
            report(done)
            if window is waiting[0].windows[-1]:
                self.folder.write(waiting.pop(0).key, _content_of(writer))
                writer.begin_anew()

        first = self.parts[0]
        writer.write(first.survey, first.label, [window for part in self.parts for window in part.windows], on_done)

    def _writer(self) -> PatchWriter:
        settings = self.settings
        return PatchWriter(self.folder.path, settings.scale, settings.frames, settings.halve_from, settings.degradation)


@dataclass(frozen=True)
class Cut:
    """Numbers of samples by side, and of windows that gave none, by reason."""

    written: Counter[str]
    rejected: Counter[str]
    crashes: Mapping[str, str]
    """Why the process that read a source ended, by the source's name."""


def parts_of(survey: Survey, sha256: str, label: str, windows: Sequence[Window], settings: PatchSettings) -> list[Part]:
    """Return the windows of a source in parts of about `PART_WINDOWS`, in the order of their frames."""
    groups: list[list[Window]] = []
    ordered = sorted(windows, key=lambda window: window.first_frame)
    for (scene, _), of_frame in groupby(ordered, key=lambda window: (window.scene, window.first_frame)):
        if not groups or groups[-1][0].scene != scene or len(groups[-1]) >= PART_WINDOWS:
            groups.append([])
        groups[-1] += of_frame
    return [Part(survey, label, tuple(group), _key_of(sha256, label, group, settings)) for group in groups]


def cut_all(
    folder: WorkFolder,
    parts: Sequence[Part],
    settings: PatchSettings,
    workers: int,
    meter: ProgressMeter,
    kept: Sequence[str] = (),
) -> Cut:
    """Cut the parts that are not finished, and remove whatever else is in the folder but the parts `kept`.

    Raises `OSError`.
    """
    finished = {part.key for part in parts if folder.read_whole(part.key) is not None}
    folder.keep_only([*finished, *kept])
    tasks = _tasks(folder, [part for part in parts if part.key not in finished], settings, workers)
    PatchWriter(folder.path, settings.scale, settings.frames).make_folders()
    crashes = _run(tasks, parts, finished, workers, meter)
    cut = _summary(folder, parts, crashes)
    folder.keep_only([*(part.key for part in parts), *kept])  # without what a crash left
    return cut


def _run(
    tasks: Sequence[CutTask], parts: Sequence[Part], finished: set[str], workers: int, meter: ProgressMeter
) -> dict[str, str]:
    done = sum(len(part.windows) for part in parts if part.key in finished)
    counts = [0.0] * len(tasks)

    def on_progress(number: int, count: float) -> None:
        counts[number] = count
        meter.update(done + sum(counts))

    meter.begin("cutting", sum(len(part.windows) for part in parts), "samples", done)
    crashes: dict[str, str] = {}
    for number, result in run_tasks(tasks, workers, on_progress):
        if isinstance(result, Crash):
            crashes[tasks[number].parts[0].survey.source.name] = result.reason
    return crashes


def _summary(folder: WorkFolder, parts: Sequence[Part], crashes: Mapping[str, str]) -> Cut:
    """Add up what is in finished parts; windows of one that a crash or a changed file left out are unreadable."""
    written, rejected = Counter[str](), Counter[str]()
    for part in parts:
        content = folder.read(part.key)
        if content is None:
            rejected["unreadable"] += len(part.windows)
        else:
            written.update(content["written"])
            rejected.update(content["rejected"])
    return Cut(written, rejected, crashes)


def _tasks(folder: WorkFolder, parts: Sequence[Part], settings: PatchSettings, workers: int) -> list[CutTask]:
    """Return tasks that keep all workers at work, the longest first; a source is read as few times as that allows."""
    by_source = [list(group) for _, group in groupby(parts, key=lambda part: part.survey.source)]
    pieces = -(-workers // len(by_source)) if by_source else 0
    shares = [share for own in by_source for share in _shared(own, pieces)]
    shares.sort(key=_window_count, reverse=True)
    return [CutTask(folder, settings, tuple(share)) for share in shares]


def _shared(parts: list[Part], pieces: int) -> list[list[Part]]:
    """Divide parts into at most `pieces` runs of about as many windows each."""
    total, before = _window_count(parts), 0
    shares: list[list[Part]] = [[] for _ in range(pieces)]
    for part in parts:
        shares[before * pieces // total].append(part)
        before += len(part.windows)
    return [share for share in shares if share]


def _window_count(parts: Sequence[Part]) -> int:
    return sum(len(part.windows) for part in parts)


def _key_of(sha256: str, label: str, windows: Sequence[Window], settings: PatchSettings) -> str:
    scene = {"index": windows[0].scene.index, "first_frame": windows[0].scene.first_frame}
    plans = [{**vars(window), "scene": scene} for window in windows]
    ways = {name: getattr(settings, name) for name in ("scale", "frames", "halve_from", "degradation", "hdr")}
    return part_key(part="windows", sha256=sha256, label=label, windows=plans, **ways)


def _content_of(writer: PatchWriter) -> dict[str, Any]:
    return {FILES: writer.files, "written": writer.written, "rejected": writer.rejected}
