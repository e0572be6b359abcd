"""Definition of a metric, the values of one scrape, and functions that define metrics by the source of the value."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from api.metrics.http_stats import HttpCounts
from service.commands import CommandState, Kind
from service.run.ledger.answer import LedgerAnswer
from service.store.queries.command_delays import CommandDelays
from service.store.queries.ranks import RankRow
from service.store.queries.records import RecordVersion
from service.store.store import RunRow

BYTES_PER_GIB = 2**30


@dataclass(frozen=True)
class Disk:
    """Size and free space of the run directory's disk."""

    free_bytes: int
    size_bytes: int


@dataclass(frozen=True)
class Scrape:
    """Values read by one scrape. `http_counts` is None if only the run is scraped.

    `now` is Unix seconds, if there is a run on its trainer's clock.

    `record_count` counts the run directory's records, or the store's if the directory is not on this machine.
    `last_record` is the store's record of the highest step. `alerts` maps every alert to whether it is active.
    """

    now: float = field(default_factory=time.time)
    http_counts: HttpCounts | None = None
    run: RunRow | None = None
    ranks: Sequence[RankRow] = ()
    commands: Mapping[tuple[Kind, CommandState], int] = field(default_factory=dict)
    delays: CommandDelays | None = None
    record_count: int | None = None
    last_record: RecordVersion | None = None
    disk: Disk | None = None
    alerts: Mapping[str, bool] = field(default_factory=dict)
    ledger: LedgerAnswer | None = None

    @property
    def snapshot(self) -> Mapping[str, Any]:
        """The live snapshot; empty before the first one."""
        return (self.run.snapshot if self.run else None) or {}

    def number(self, key: str) -> float | None:
        """Return a number of the live snapshot; None if it is missing."""
        return as_number(self.snapshot.get(key))

    def trainer_stat(self, name: str) -> float | None:
        """Return one of the trainer's statistics about itself; None if it was not reported."""
        return as_number(((self.run.facts if self.run else None) or {}).get(name))

    def setting(self, name: str) -> float | None:
        """Return the value of a numeric setting in force: as changed since the start, or the start's."""
        if self.run is None:
            return None
        changes = (self.run.live or {}).get("changes", {})
        return as_number(changes.get(name, self.run.config.get(name)))

    def rank_values(self) -> Sequence[Mapping[str, Any]]:
        """Return the snapshot's values per rank, in rank order."""
        return self.snapshot.get("per_rank") or ()


@dataclass(frozen=True)
class Histogram:
    """Cumulative histogram: `counts` of values up to each of `bounds`, `count` of all values, `total` is their sum."""

    bounds: Sequence[float]
    counts: Sequence[int]
    count: int
    total: float


Value = float | Histogram | None
"""A metric with the value None is omitted."""
Sample = tuple[Sequence[str], Value]


@dataclass(frozen=True)
class MetricDefinition:
    """One metric: a counter if its name ends in `_total`, a histogram if `is_histogram`, otherwise a gauge."""

    name: str
    meaning: str
    read: Callable[[Scrape], Iterable[Sample]]
    labels: tuple[str, ...] = ()
    is_histogram: bool = False

    @property
    def kind(self) -> str:
        """Prometheus type of the metric."""
        if self.is_histogram:
            return "histogram"
        return "counter" if self.name.endswith("_total") else "gauge"


def as_number(value: Any) -> float | None:
    """Convert a number, or a boolean to 1 or 0; None for anything else."""
    return float(value) if isinstance(value, int | float) else None


def unlabelled(name: str, meaning: str, read: Callable[[Scrape], float | None]) -> MetricDefinition:
    """Define a metric without labels whose value `read` takes from the scrape."""
    return MetricDefinition(name, meaning, lambda scrape: [((), read(scrape))])


def from_snapshot(name: str, meaning: str, key: str, factor: float = 1.0) -> MetricDefinition:
    """Define a metric for the snapshot's value `key`, multiplied by `factor`."""
    return unlabelled(name, meaning, lambda scrape: _times(scrape.number(key), factor))


def labelled(name: str, meaning: str, label: str, keys: Mapping[str, str]) -> MetricDefinition:
    """Define a metric for several values of the snapshot, distinguished by one label; `keys` is {label value: key}."""

    def read(scrape: Scrape) -> Iterable[Sample]:
        return [((label_value,), scrape.number(key)) for label_value, key in keys.items()]

    return MetricDefinition(name, meaning, read, (label,))


def state_set(name: str, meaning: str, label: str, key: str, choices: Iterable[str]) -> MetricDefinition:
    """Define a state set for the snapshot's text `key`: 1 for the current state, 0 for the other `choices`."""
    states = tuple(choices)

    def read(scrape: Scrape) -> Iterable[Sample]:
        current = scrape.snapshot.get(key)
        return [] if current is None else [((state,), float(state == current)) for state in states]

    return MetricDefinition(name, meaning, read, (label,))


def from_snapshot_by_rank(name: str, meaning: str, key: str, factor: float = 1.0) -> MetricDefinition:
    """Define a metric per rank for the snapshot's value `key` of each rank, multiplied by `factor`."""

    def read(scrape: Scrape) -> Iterable[Sample]:
        for row in scrape.rank_values():
            yield (str(row.get("rank")),), _times(as_number(row.get(key)), factor)

    return MetricDefinition(name, meaning, read, ("rank",))


def from_rank_status(name: str, meaning: str, read: Callable[[RankRow], float | None]) -> MetricDefinition:
    """Define a metric per rank from the rank's status, as rank 0's watchdog last received it."""
    return MetricDefinition(
        name, meaning, lambda scrape: [((str(row.rank),), read(row)) for row in scrape.ranks], ("rank",)
    )


def from_run(name: str, meaning: str, read: Callable[[RunRow], float]) -> MetricDefinition:
    """Define a metric from the run's row in the store."""
    return unlabelled(name, meaning, lambda scrape: read(scrape.run) if scrape.run else None)


def from_trainer_stats(name: str, meaning: str, key: str) -> MetricDefinition:
    """Define a metric for one of the trainer's statistics about itself."""
    return unlabelled(name, meaning, lambda scrape: scrape.trainer_stat(key))


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
