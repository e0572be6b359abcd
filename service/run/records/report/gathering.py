"""What a report reads from a run directory: records, pictures, settings, where the run ran."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from service.atomic_files import read_small_file
from service.config.loader import SECRET
from service.run.directory import RunDirectory
from service.run.records.curves.activity import ActivityMap
from service.run.records.curves.columns import RunColumns
from service.run.records.findings.finding import Point, point_of
from service.run.records.history import Records
from service.run.records.keeping.checkpoint_check import checkpoint_folders
from service.run.records.report.contents import Preview
from service.run.records.saved_record import SavedRecord
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


def read_run(label: str, summaries: Iterable[RecordSummary], count: int) -> ReadRun:
    """Take all records of one run, which are at most `count`."""
    run = ReadRun(RunColumns(label, activity=ActivityMap(count)))
    for record in summaries:
        run.add(record)
    return run


def newest_of(records: Records, folder: Path) -> SavedRecord | None:
    """Return the newest record of a folder that can be read; None if there is none."""
    found = (records.load(file, folder) for file in reversed(records.files(folder)))
    return next((record for record in found if record), None)


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
    names = {
        step: sorted(path.name for path in (folder / f"step_{step}").glob("*.webp"))
        for step in sorted({steps[0], *best, steps[-1]})
    }
    return fitting_previews(names, lambda step, name: _content(folder / f"step_{step}" / name))


def fitting_previews(
    names: Mapping[int, Sequence[str]], load: Callable[[int, str], bytes]
) -> Mapping[int, list[Preview]]:
    """Return as many pictures of each step as MAX_PREVIEWS and MAX_PREVIEW_BYTES leave room for.

    `names` are those of the files by step; `load` returns the content of one, empty if it cannot be had.
    """
    found: dict[int, list[Preview]] = {step: [] for step in names}
    room = MAX_PREVIEW_BYTES
    for step, name in _in_turns(names):
        content = load(step, name)
        if is_webp(content) and len(content) <= room:
            room -= len(content)
            found[step].append(Preview(PurePath(name).stem, content))
    return {step: previews for step, previews in found.items() if previews}


def is_webp(content: bytes) -> bool:
    """Return True if these are the bytes of a WebP picture."""
    return content[:4] == b"RIFF" and content[8:12] == b"WEBP"


def _in_turns(names: Mapping[int, Sequence[str]]) -> Iterator[tuple[int, str]]:
    """Yield the first picture of every step, the last step first, then the second of every step, and so on."""
    for index in range(MAX_PREVIEWS):
        yield from ((step, files[index]) for step, files in reversed(list(names.items())) if index < len(files))


def _content(path: Path) -> bytes:
    try:
        return read_small_file(path)
    except OSError:
        return b""


def environment_of(
    run: ReadRun,
    newest: Mapping[str, Any],
    *,
    directory: str,
    checkpoints: Sequence[str],
    versions: Mapping[str, str],
) -> list[tuple[str, str]]:
    """Return names and values of where a run ran, and on which data; `newest` are all values of the last record."""
    ranks = [rank for rank in newest.get("per_rank") or [] if isinstance(rank, dict)]
    last = {} if run.last is None else run.last.values
    rows = {
        "run_id": last.get("run_id"),
        "directory": directory,
        "world_size": last.get("world_size"),
        "host": ", ".join(dict.fromkeys(str(rank.get("host")) for rank in ranks)),
        "device": ", ".join(dict.fromkeys(str(rank.get("device")) for rank in ranks)),
        "training_data": last.get("training_data"),
        "validation_data": last.get("validation_data"),
        "parent": _parent(last),
        "checkpoints": ", ".join(checkpoints),
        **versions,
    }
    return [(name, str(value)) for name, value in rows.items() if value not in (None, "")]


def _parent(last: Mapping[str, Any]) -> str:
    parent, step = last.get("parent_run"), last.get("parent_step")
    at_step = "" if step is None else f" @ {step}"
    return f"{parent}{at_step}" if parent else str(last.get("init_from") or "")


def checkpoint_names(root: Path) -> list[str]:
    """Return the names of a run directory's checkpoints; none where they cannot be read."""
    try:
        return [folder.name for folder in checkpoint_folders(root)]
    except OSError:
        return []
