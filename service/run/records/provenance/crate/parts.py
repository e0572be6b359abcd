"""Which files and folders of a run directory a crate names, each once, at most so many."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service.run.directory import RunDirectory
from service.run.record import PACKED, saved_step
from service.run.records.files import find_files
from service.run.records.keeping.checkpoint_check import LINKS, checkpoint_folders
from service.run.records.provenance.crate.entities import Entity, entity, path_id

MAX_RECORDS = 1000
MAX_OTHERS = 100
"""Most provenances and exports that are named one by one."""
JSON = "application/json"
_EXPORTS = {".safetensors": "application/octet-stream", ".onnx": "application/octet-stream"}


@dataclass
class Parts:
    """The entities of a run's files: their identifiers by what they are, and the entities themselves."""

    entities: dict[str, Entity] = field(default_factory=dict)
    records: dict[int, str] = field(default_factory=dict)
    """Identifier of each record by step."""
    checkpoints: dict[str, str] = field(default_factory=dict)
    """Identifier by the name of the checkpoint's folder."""
    provenances: dict[str, str] = field(default_factory=dict)
    """Identifier by sha256."""
    record_count: int = 0

    def add(self, item: Entity) -> str:
        """Add an entity; return its identifier."""
        self.entities[item["@id"]] = item
        return str(item["@id"])


def find_parts(directory: RunDirectory, best_step: int | None) -> Parts:
    """Look for the files; the newest records are named, and that of `best_step`. Raises `OSError`."""
    root, parts = directory.root, Parts()
    _add_records(root, parts, best_step)
    for folder in checkpoint_folders(root):
        links = [name for name in LINKS if _target(folder.parent / name) == folder.name]
        title = " ".join(["Checkpoint", folder.name, *(f"({name})" for name in links)])
        description = "State of the training: state.pt, and manifest.json with its sha256"
        identifier = path_id(f"checkpoints/{folder.name}/")
        parts.checkpoints[folder.name] = parts.add(entity(identifier, "Dataset", name=title, description=description))
    for path in _newest(directory.provenance, "*.json"):
        item = _file(root, path, "From what a start was made", JSON)
        parts.provenances[path.stem] = parts.add(item)
    for path, title, kind in _others(directory):
        parts.add(_file(root, path, title, kind))
    if directory.previews.is_dir():
        name, description = directory.previews.name, "Pictures of validations: LR, KI and GT side by side"
        parts.add(entity(path_id(f"{name}/"), "Dataset", name=name, description=description))
    return parts


def _add_records(root: Path, parts: Parts, best_step: int | None) -> None:
    files, _ = find_files(root)
    parts.record_count = len(files)
    newest = files[-MAX_RECORDS:]
    best = [file for file in files[:-MAX_RECORDS] if file.step == best_step]
    for file in [*best, *newest]:
        kind = "application/gzip" if file.name.endswith(PACKED) else JSON
        item = _file(root, file.path, f"Record of the validation at step {file.step}", kind)
        parts.records[file.step] = parts.add(item)


def _others(directory: RunDirectory) -> Iterator[tuple[Path, str, str]]:
    """Yield path, title and format of files of which there is one, and of exported networks."""
    for path, title, kind in (
        (directory.config, "Effective settings, and where each came from", JSON),
        (directory.identity, "Identity of the run", JSON),
        (directory.log, "Log of the training", "text/plain"),
        (directory.store, "Store: curves, commands, events", "application/vnd.sqlite3"),
    ):
        if path.is_file():
            yield path, title, kind
    for suffix, kind in _EXPORTS.items():
        for path in _newest(directory.root, f"*{suffix}"):
            yield path, "Exported network", kind
    for path in _newest(directory.provenance, "*.diff"):
        yield path, "What was not committed in the source tree", "text/x-diff"


def _newest(folder: Path, pattern: str) -> list[Path]:
    """Return the newest files of a pattern, at most MAX_OTHERS, by name."""
    found = [path for path in folder.glob(pattern) if path.is_file()] if folder.is_dir() else []
    found.sort(key=lambda path: path.stat().st_mtime)
    return sorted(found[-MAX_OTHERS:])


def _file(root: Path, path: Path, title: str, kind: str) -> Entity:
    identifier = path_id(path.relative_to(root).as_posix())
    name, size = path.name, str(path.stat().st_size)
    return entity(identifier, "File", name=name, description=title, encodingFormat=kind, contentSize=size)


def _target(link: Path) -> str | None:
    try:
        return link.readlink().name
    except OSError:
        return None


def record_of(parts: Parts, result: Mapping[str, Any]) -> str | None:
    """Return the identifier of the record that a command made, if the crate names it."""
    step = saved_step(str(result.get("record", "")))
    return None if step is None else parts.records.get(step)
