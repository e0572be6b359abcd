"""First part of a preparation: what sources hold, as sums and scenes, found by worker processes and kept.

Never writes into the set itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ddp.vsr.prepare.jobs.processes import Crash, Report, run_tasks
from ddp.vsr.prepare.jobs.progress import ProgressMeter
from ddp.vsr.prepare.jobs.work_folder import WorkFolder, part_key
from ddp.vsr.prepare.manifest import sha256_of_source, size_of_source
from ddp.vsr.prepare.scenes import Scene, Survey, survey
from ddp.vsr.prepare.sources import Source
from ddp.vsr.prepare.video import DamagedVideoError, expected_frame_count
from ddp.vsr.unreadable import Skipped, reason_of

MEBIBYTE = 2**20


@dataclass(frozen=True)
class HashTask:
    """Computes the SHA-256 of a source."""

    source: Source

    def __call__(self, report: Report) -> str | Skipped:  # noqa: ARG002  files are read too quickly to report
        """Return the sum, or why there is none."""
        try:
            return sha256_of_source(self.source)
        except OSError as error:
            return Skipped(self.source.name, reason_of(error))


@dataclass(frozen=True)
class SurveyTask:
    """Finds the scenes of a source; reports which share of its frames is decoded, 0…1."""

    source: Source
    halve_from: int
    maps_hdr: bool = False

    def __call__(self, report: Report) -> Survey | Skipped:
        """Return what the source holds, or why it cannot be used."""
        expected = expected_frame_count(self.source)

        def on_frame(count: int) -> None:
            report(min(1.0, count / max(expected, count)))

        try:
            return survey(self.source, self.halve_from, on_frame, self.maps_hdr)
        except DamagedVideoError as error:
            return Skipped(self.source.name, str(error))


def hash_all(sources: Sequence[Source], workers: int, meter: ProgressMeter) -> dict[Source, str | Skipped]:
    """Return the SHA-256 of every source, or why it has none, in the order of `sources`."""
    sizes = [size_of_source(source) / MEBIBYTE for source in sources]
    meter.begin("reading", sum(sizes), "MiB")
    found: dict[Source, str | Skipped] = {}
    for number, result in run_tasks([HashTask(source) for source in sources], workers, lambda *_: None):
        source = sources[number]
        found[source] = Skipped(source.name, result.reason) if isinstance(result, Crash) else result
        meter.update(sum(size for size, other in zip(sizes, sources, strict=True) if other in found))
    return {source: found[source] for source in sources}


class Surveyor:
    """Surveys sources, and keeps what it finds in a work folder."""

    def __init__(
        self, folder: WorkFolder, halve_from: int, workers: int, meter: ProgressMeter, maps_hdr: bool = False
    ) -> None:
        self._folder = folder
        self._halve_from = halve_from
        self._maps_hdr = maps_hdr
        self._workers = workers
        self._meter = meter

    def survey_all(self, sums: Mapping[Source, str]) -> dict[Source, Survey | Skipped]:
        """Return what each source of this SHA-256 holds, or why it cannot be used, in their order. Raises `OSError`."""
        found: dict[Source, Survey | Skipped] = {}
        for source, sha256 in sums.items():
            if (kept := self._folder.read(self.key_of(source, sha256))) is not None:
                found[source] = survey_of(source, kept)
        self._find({source: sha256 for source, sha256 in sums.items() if source not in found}, sums, found)
        return {source: found[source] for source in sums}

    def key_of(self, source: Source, sha256: str) -> str:
        """Return the key of the part that holds what is found in a source."""
        ways = {"halve_from": self._halve_from, "maps_hdr": self._maps_hdr}
        return part_key(part="survey", sha256=sha256, is_sequence=source.is_sequence, **ways)

    def _find(
        self, missing: Mapping[Source, str], sums: Mapping[Source, str], found: dict[Source, Survey | Skipped]
    ) -> None:
        sources = sorted(missing, key=size_of_source, reverse=True)  # the longest first, so that none is left alone
        sizes = {source: size_of_source(source) / MEBIBYTE for source in sums}
        shares = [0.0] * len(sources)
        done = sum(sizes[source] for source in found)

        def on_progress(number: int, share: float) -> None:
            shares[number] = share
            self._meter.update(done + sum(sizes[of] * part for of, part in zip(sources, shares, strict=True)))

        self._meter.begin("looking for scenes", sum(sizes.values()), "MiB", done)
        tasks = [SurveyTask(source, self._halve_from, self._maps_hdr) for source in sources]
        for number, result in run_tasks(tasks, self._workers, on_progress):
            source = sources[number]
            found[source] = Skipped(source.name, result.reason) if isinstance(result, Crash) else result
            if isinstance(result, Survey):
                self._folder.write(self.key_of(source, missing[source]), content_of(result))
            on_progress(number, 1.0)


def content_of(found: Survey) -> dict[str, Any]:
    """Return a survey as plain JSON, without its source."""
    content = {name: value for name, value in vars(found).items() if name not in {"source", "scenes", "skipped"}}
    content["scenes"] = [(scene.first_frame, scene.frame_count) for scene in found.scenes]
    content["skipped"] = [asdict(item) for item in found.skipped]
    return content


def survey_of(source: Source, content: Mapping[str, Any]) -> Survey:
    """Return the survey of a source that has this content."""
    scenes = tuple(Scene(source, index, first, count) for index, (first, count) in enumerate(content["scenes"]))
    skipped = tuple(Skipped(**item) for item in content["skipped"])
    return Survey(**{**content, "source": source, "scenes": scenes, "skipped": skipped})
