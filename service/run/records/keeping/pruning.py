"""Which records of a run directory may go, and moving them aside or deleting them.

Never the newest record, the best one, one of a step that has a checkpoint or that a report in the run directory points
at, nor a file that cannot be read.
"""

import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.atomic_files import move_without_replacing, open_ordinary, sync_folder
from service.errors import RunDirectoryError
from service.run.directory import RunDirectory, numbered_names
from service.run.records.keeping.checkpoint_check import checkpoint_folders
from service.run.records.summary import RecordSummary

_NOTE = re.compile(rb'<meta name="leitstand-steps" content="([0-9 ]*)">')
HEAD_BYTES = 4096
"""Of a page, within which its note of steps lies."""


@dataclass(frozen=True)
class PruneRule:
    """What is kept beside what always is.

    Records of every `keep_every` steps, the newest `keep_last`, and all that were saved at `older_than` (Unix seconds)
    or later; None keeps nothing by that rule.
    """

    keep_every: int | None = None
    keep_last: int | None = None
    older_than: float | None = None


@dataclass(frozen=True)
class Candidate:
    """What pruning needs of one record: thousands are held at once. `scale` says which qualities compare with it."""

    path: Path
    step: int
    saved_at: float
    quality: float | None
    scale: tuple[str, str | None]
    size_bytes: int


def candidate_of(record: RecordSummary) -> Candidate:
    """Return the candidate of a record. Raises `OSError`."""
    status, values = record.path.stat(), record.values
    scale = (str(record.origin), values["validation_data"])
    saved_at = values["last_update_time"] or status.st_mtime
    return Candidate(
        record.path, record.step, saved_at, values["quality_ki_value"], scale, status.st_size
    )  # fmt: skip


def checkpoint_steps(root: Path) -> set[int]:
    """Return the steps of all checkpoints, usable or not. Raises `OSError`."""
    digits = (folder.name.removeprefix("step_") for folder in checkpoint_folders(root))
    return {int(text) for text in digits if text.isascii() and text.isdigit()}


def report_steps(root: Path) -> set[int]:
    """Return the steps that reports in the run directory point at. Raises `OSError`."""
    found: set[int] = set()
    for path in root.glob("*.html"):
        with open_ordinary(path) as file:
            note = _NOTE.search(file.read(HEAD_BYTES) or b"")
        found |= {int(step) for step in note[1].split()} if note else set()
    return found


def to_prune(candidates: Sequence[Candidate], rule: PruneRule, named_steps: Iterable[int]) -> list[Candidate]:
    """Return the records that may go, by step; `candidates` are all of a run's present branch, by step."""
    kept = {*named_steps, *_best_steps(candidates), *(one.step for one in candidates[-max(rule.keep_last or 1, 1) :])}
    return [
        one
        for one in candidates
        if one.step not in kept
        and not (rule.keep_every and one.step % rule.keep_every == 0)
        and not (rule.older_than is not None and one.saved_at >= rule.older_than)
    ]


def _best_steps(candidates: Sequence[Candidate]) -> set[int]:
    """Return the step of the best record of each validation set: qualities of different ones do not compare."""
    best: dict[tuple[str, str | None], Candidate] = {}
    for one in candidates:
        if one.quality is not None and (one.scale not in best or one.quality > (best[one.scale].quality or 0.0)):
            best[one.scale] = one
    return {one.step for one in best.values()}


def archive_records(root: Path, pruned: Sequence[Candidate]) -> Path:
    """Move records and their previews to `archive/<run>-pruned`; returns that folder. Raises `OSError`.

    Nothing there is replaced: if a file is there already, the folder gets a number.
    """
    directory = RunDirectory(root)
    names = numbered_names(f"{_run_id(directory)}-pruned")
    target = next(
        folder
        for folder in (directory.archive_folder / name for name in names)
        if not any((folder / one.path.name).exists() for one in pruned)
    )
    target.mkdir(parents=True, exist_ok=True)
    for one in pruned:
        move_without_replacing(one.path, target / one.path.name)
        previews = _previews(directory, one)
        moved = target / previews.parent.name / previews.name
        if previews.is_dir() and not moved.exists():
            moved.parent.mkdir(exist_ok=True)
            previews.rename(moved)
    sync_folder(target)
    sync_folder(root)
    return target


def delete_records(root: Path, pruned: Sequence[Candidate]) -> None:
    """Delete records and their previews. Raises `OSError`."""
    for one in pruned:
        one.path.unlink()
        shutil.rmtree(_previews(RunDirectory(root), one), ignore_errors=True)
    sync_folder(root)


def _run_id(directory: RunDirectory) -> str:
    """Return the checked id in `run.json`, never what a record says: it becomes the name of a folder."""
    try:
        return directory.run_id() or "unnamed"
    except RunDirectoryError:
        return "unnamed"


def _previews(directory: RunDirectory, one: Candidate) -> Path:
    return directory.previews / f"step_{one.step}"
