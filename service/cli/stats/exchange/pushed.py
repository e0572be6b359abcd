"""What another tracker is given of a run: its settings and history, and the numbers of its records."""

from collections.abc import Iterable, Iterator
from itertools import islice

from service.cli.stats.sources.run_source import RunSource
from service.cli.stats.stored.history import StoredHistory
from service.run.records.saved_record import SavedRecord
from service.run.records.tables.tags import record_scalars
from service.run.records.trackers.tracked_run import TOLD, TrackedPoint, TrackedRun, Tracker

BATCH_RECORDS = 50
ROLLBACK = "rollback"


def pushed_run(source: RunSource, newest: SavedRecord, history: StoredHistory) -> TrackedRun:
    """Return what is told once of a run whose newest record is `newest`."""
    values = newest.values
    return TrackedRun(
        run_id=newest.run,
        branch=values["branch_id"] or 0,
        name=history.name or source.label,
        note=history.note,
        settings={name: str(value) for name, value, _ in source.settings()},
        facts={name: str(values[name]) for name in TOLD if values.get(name) is not None},
        rollbacks=[_rollback(entry.step, entry.text) for entry in history.log if entry.kind == ROLLBACK],
    )


def _rollback(step: int | None, text: str) -> str:
    return text if step is None else f"{text}, at step {step}"


def push_records(records: Iterable[SavedRecord], tracker: Tracker, after: int) -> int:
    """Add the records of later steps than `after`; returns how many there were."""
    points = (point_of(record) for record in records if record.step > after)
    count = 0
    for batch in _batches(points):
        tracker.add(batch)
        count += len(batch)
    return count


def point_of(record: SavedRecord) -> TrackedPoint:
    """Return the numbers of a record."""
    return TrackedPoint(record.step, record.values["last_update_time"], dict(record_scalars(record.values)))


def _batches(points: Iterator[TrackedPoint]) -> Iterator[list[TrackedPoint]]:
    while batch := list(islice(points, BATCH_RECORDS)):
        yield batch
