"""Makes a run's store again from the files of its run directory, and fills one that lost rows.

What is in the store stays as it is, but for copies that are not their record's file. Where it has no event of the run,
those that `training.log` and the records tell are put into it. Log points between validations have no file: what is
lost of them stays lost.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.atomic_files import read_small_file
from service.errors import RunDirectoryError
from service.run.directory import RunDirectory
from service.run.ledger.ledger import TIME_SPENT
from service.run.record import list_records
from service.run.record_schema import FIELDS
from service.run.records.keeping.packing import read_saved
from service.run.state import RunState
from service.store.rebuilt_history import restore_history
from service.store.store import SeriesRow, Store

REASON = "made again from the files of the run directory"
BATCH_SIZE = 200
NO_LIMIT = 2**31 - 1
_CURVES = tuple(field.name for field in FIELDS if field.kind in {"number", "integer"})


@dataclass
class Rebuilt:
    """What was put into the store: whether the run itself, and how many records, points of curves, events, commands.

    `bad` are the records that could not be read, with the reason.
    """

    run_id: str
    is_new: bool = False
    records: int = 0
    points: int = 0
    events: int = 0
    commands: int = 0
    bad: list[tuple[Path, str]] | None = None


@dataclass(frozen=True)
class _SavedRecord:
    step: int
    record: Mapping[str, Any]
    sha256: str
    saved_at: float


def rebuild(directory: RunDirectory, store: Store) -> Rebuilt:
    """Put into the store what it lacks of a run and its branches.

    The caller holds the lock on the directory. Raises `RunDirectoryError` if there is no run, `OSError` or
    `StoreUnavailableError`.
    """
    run_id = directory.run_id()
    if run_id is None:
        raise RunDirectoryError(f"{directory.root} holds no run.json; without the run's id its store cannot be made.")
    done = Rebuilt(run_id, bad=[])
    if store.runs.get(run_id) is None:
        done.is_new = True
        _start(directory, store, run_id)
    for branch_id, folder in _folders(directory, run_id):
        _fill(store, branch_id, folder, done)
    if done.is_new:
        _end(store, run_id)
    done.events, done.commands = restore_history(store, run_id, directory.log)
    if done.is_new:
        _restore_time_spent(store, run_id)
    return done


def _start(directory: RunDirectory, store: Store, run_id: str) -> None:
    settings: Mapping[str, Any] = {}
    with suppress(OSError, ValueError, KeyError, TypeError):
        settings = dict(json.loads(read_small_file(directory.config))["settings"])
    store.open_run(run_id, settings, directory.identity.stat().st_mtime)


def _restore_time_spent(store: Store, run_id: str) -> None:
    """Give the run's row what its last start has spent its time on, as far as the log tells."""
    found, _ = store.events.page(run_id, before_id=None, kinds=[TIME_SPENT], limit=1)
    if found:
        store.runs.update(run_id, facts=dict(found[0].details))


def _folders(directory: RunDirectory, run_id: str) -> Iterator[tuple[str, Path]]:
    """Yield the run and its abandoned branches, each with the folder of its records."""
    yield run_id, directory.root
    for way in ("branch", "after"):
        for folder in sorted(directory.archive_folder.glob(f"{run_id}-{way}-*")):
            yield folder.name, folder


def _fill(store: Store, run_id: str, folder: Path, done: Rebuilt) -> None:
    """Put the records of a folder into the store, and points of its curves where it has none of that step."""
    known = {version.step: version.sha256 for version in store.records.find_versions(run_id, limit=NO_LIMIT)}
    points: list[SeriesRow] = []
    for found in _saved_records(folder, done):
        if known.get(found.step) != found.sha256:
            store.records.restore(run_id, found.step, found.record, found.sha256, found.saved_at)
            done.records += 1
        if not store.series.find(run_id, found.step, found.step):
            points.append(SeriesRow(found.step, found.saved_at, _curve_values(found.record)))
    for start in range(0, len(points), BATCH_SIZE):
        store.series.add(run_id, points[start : start + BATCH_SIZE])
    if points:
        store.series.repair_rollups(run_id)
    done.points += len(points)


def _saved_records(folder: Path, done: Rebuilt) -> Iterator[_SavedRecord]:
    """Yield the records in a folder; those that cannot be read, or are of another system, go to `done.bad`."""
    for step, path in list_records(folder):
        try:
            content, saved_at = read_saved(path), path.stat().st_mtime
            record = _record_of(step, content)
        except (OSError, ValueError, RecursionError) as error:
            done.bad = [*(done.bad or []), (path, str(error))]
            continue
        yield _SavedRecord(step, record, hashlib.sha256(content).hexdigest(), saved_at)


def _record_of(step: int, content: bytes) -> Mapping[str, Any]:
    """Parse a record of a step; raises `ValueError` or `RecursionError`."""
    record = json.loads(content)
    if not isinstance(record, dict) or "run_id" not in record or record.get("step_current") != step:
        raise ValueError("it is no record of this step by Leitstand")
    return record


def _curve_values(record: Mapping[str, Any]) -> dict[str, float | None]:
    values = ((key, record.get(key)) for key in _CURVES)
    return {
        key: float(value)
        for key, value in values
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def _end(store: Store, run_id: str) -> None:
    """Let a run that is new in the store stand where its last record left it."""
    last = store.records.latest(run_id)
    if last is None:
        store.runs.update(run_id, state=RunState.STOPPED.value, reason=REASON)
        return
    store.runs.update(
        run_id, state=RunState.STOPPED.value, reason=REASON, step=last.step, snapshot=dict(last.record),
        heartbeat_at=last.time, progress_at=last.time,
    )  # fmt: skip
