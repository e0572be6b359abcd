"""What another tracker is given of a run, and the interface of those trackers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from typing import Any, Protocol

from service.cli.stats.sources.run_source import RunSource
from service.cli.stats.stored.history import StoredHistory
from service.errors import UserError
from service.run.records.saved_record import SavedRecord
from service.run.records.tables.tags import record_scalars

BATCH_RECORDS = 50
ROLLBACK = "rollback"
TOLD = ("training_data", "validation_data", "world_size", "provenance", "parent_run", "parent_step", "init_from")
"""Values of the newest record that are told once of the run."""


@dataclass(frozen=True)
class PushedRun:
    """What is told once of a run. `settings` have texts, `facts` the TOLD values; `rollbacks` are sentences."""

    run_id: str
    branch: int
    name: str
    note: str
    state: str
    settings: Mapping[str, str]
    facts: Mapping[str, str]
    rollbacks: Sequence[str]


@dataclass(frozen=True)
class PushedPoint:
    """The numbers of one record by tag; `at` is Unix seconds, None if the record does not say."""

    step: int
    at: float | None
    scalars: Mapping[str, float]


class Tracker(Protocol):
    """Another experiment tracker, which keeps one run at a time. Every method may raise `UserError`."""

    def begin(self, run: PushedRun) -> int:
        """Find or make the run; returns the newest step that the tracker has of it, -1 if it has none."""

    def add(self, points: Sequence[PushedPoint]) -> None:
        """Add points, in the order of their steps."""

    def end(self) -> str:
        """Finish; returns where the run is, as the end of a sentence."""


def library(name: str, tracker: str, install: str) -> Any:
    """Import a tracker's library; raises `UserError` where it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        raise UserError(f"{tracker} is reached by its own library; install it with `pip install {install}`.") from None


def pushed_run(source: RunSource, newest: SavedRecord, history: StoredHistory) -> PushedRun:
    """Return what is told once of a run whose newest record is `newest`."""
    values = newest.values
    return PushedRun(
        run_id=newest.run,
        branch=values["branch_id"] or 0,
        name=history.name or source.label,
        note=history.note,
        state=history.state,
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


def point_of(record: SavedRecord) -> PushedPoint:
    """Return the numbers of a record."""
    return PushedPoint(record.step, record.values["last_update_time"], dict(record_scalars(record.values)))


def _batches(points: Iterator[PushedPoint]) -> Iterator[list[PushedPoint]]:
    while batch := list(islice(points, BATCH_RECORDS)):
        yield batch
