"""What a report reads from a run directory: records, pictures, settings, where the run ran."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service.atomic_files import read_small_file
from service.config.loader import SECRET
from service.run.directory import RunDirectory
from service.run.records.curves.activity import ActivityMap
from service.run.records.curves.columns import RunColumns
from service.run.records.findings.finding import Point, point_of
from service.run.records.history import Records
from service.run.records.keeping.checkpoint_check import checkpoint_folders
from service.run.records.provenance.provenance import versions
from service.run.records.report.contents import Preview
from service.run.records.summary import RecordSummary

MAX_PREVIEW_BYTES = 1_900_000
"""Of all pictures together: they become a third larger as text, and a report is to be sent by mail."""
MAX_PREVIEWS = 6
"""Pictures of one validation."""
DEFAULT = "default"


@dataclass
class ReadRun:
    """One pass over a run's records."""

    columns: RunColumns
    points: list[Point] = field(default_factory=list)
    best: RecordSummary | None = None
    last: RecordSummary | None = None
    devices: dict[str, None] = field(default_factory=dict)

    def add(self, record: RecordSummary) -> None:
        """Take the next record."""
        self.columns.add(record)
        self.points.append(point_of(record))
        self.last = record
        if _quality(record) > _quality(self.best):
            self.best = record


def _quality(record: RecordSummary | None) -> float:
    value = None if record is None else record.values["quality_ki_value"]
    return float("-inf") if value is None else float(value)


def read_run(records: Records, folder: Path, label: str) -> ReadRun:
    """Read all records of one directory of `records`."""
    run = ReadRun(RunColumns(label, activity=ActivityMap(len(records.files(folder)))))
    for record in records.summaries(folder):
        run.add(record)
    return run


def ranks_of(records: Records, folder: Path) -> list[Mapping[str, Any]]:
    """Return what the newest record that can be read says of each rank."""
    for file in reversed(records.files(folder)):
        if record := records.load(file, folder):
            return [rank for rank in record.values["per_rank"] or [] if isinstance(rank, dict)]
    return []


def read_settings(root: Path) -> list[tuple[str, Any, str]]:
    """Return name, value and origin of every setting in `config.json`, without secrets; empty if there is none."""
    try:
        content = json.loads(read_small_file(RunDirectory(root).config))
        settings, origins = dict(content["settings"]), dict(content["origins"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    return [
        (name, value, str(origins.get(name, DEFAULT))) for name, value in settings.items() if name.lower() not in SECRET
    ]


def read_previews(root: Path, run: ReadRun) -> Mapping[int, list[Preview]]:
    """Return pictures of the first validation that has some, the best and the last, at most MAX_PREVIEW_BYTES."""
    folder = RunDirectory(root).previews
    steps = [step for step in run.columns.steps if (folder / f"step_{step}").is_dir()]
    if not steps:
        return {}
    best = [] if run.best is None or run.best.step not in steps else [run.best.step]
    chosen = dict.fromkeys(sorted({steps[0], *best, steps[-1]}))
    files = {step: sorted((folder / f"step_{step}").glob("*.webp"))[:MAX_PREVIEWS] for step in chosen}
    found: dict[int, list[Preview]] = {step: [] for step in chosen}
    room = MAX_PREVIEW_BYTES
    for step, path in _in_turns(files):
        content = _content(path)
        if 0 < len(content) <= room:
            room -= len(content)
            found[step].append(Preview(path.stem, content))
    return {step: previews for step, previews in found.items() if previews}


def _in_turns(files: Mapping[int, list[Path]]) -> Iterator[tuple[int, Path]]:
    """Yield the first picture of every step, the last step first, then the second of every step, and so on."""
    for index in range(MAX_PREVIEWS):
        yield from ((step, paths[index]) for step, paths in reversed(list(files.items())) if index < len(paths))


def _content(path: Path) -> bytes:
    """Return a picture, or nothing if it is none or cannot be read."""
    try:
        content = read_small_file(path)
    except OSError:
        return b""
    return content if content[:4] == b"RIFF" and content[8:12] == b"WEBP" else b""


def environment_of(root: Path, run: ReadRun, ranks: list[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return names and values of where a run ran, and on which data."""
    last = {} if run.last is None else run.last.values
    rows = {
        "run_id": last.get("run_id"),
        "directory": str(root),
        "world_size": last.get("world_size"),
        "host": ", ".join(dict.fromkeys(str(rank.get("host")) for rank in ranks)),
        "device": ", ".join(dict.fromkeys(str(rank.get("device")) for rank in ranks)),
        "training_data": last.get("training_data"),
        "validation_data": last.get("validation_data"),
        "parent": _parent(last),
        "checkpoints": ", ".join(_checkpoints(root)),
        **versions(root, last.get("provenance")),
    }
    return [(name, str(value)) for name, value in rows.items() if value not in (None, "")]


def _parent(last: Mapping[str, Any]) -> str:
    parent, step = last.get("parent_run"), last.get("parent_step")
    at_step = "" if step is None else f" @ {step}"
    return f"{parent}{at_step}" if parent else str(last.get("init_from") or "")


def _checkpoints(root: Path) -> list[str]:
    try:
        return [folder.name for folder in checkpoint_folders(root)]
    except OSError:
        return []
