"""A row of the table of metrics, what one scrape read, and the ways in which values are taken from it."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from api.metrics.http_stats import HttpCounts
from service.commands import CommandState, Kind
from service.store.queries.commands import CommandDelays
from service.store.queries.ranks import RankRow
from service.store.queries.records import RecordVersion
from service.store.store import RunRow

BYTES_PER_GIB = 2**30


@dataclass(frozen=True)
class Disk:
    """The disk of the run directory."""

    free_bytes: int
    size_bytes: int


@dataclass(frozen=True)
class Scrape:
    """What one scrape read. `now` is Unix seconds; `traffic` is None where only the run is asked for.

    `record_count` is of the run directory, where that is elsewhere of the store; `last_record` is the one of the
    highest step that the store has; `alerts` says of each whether it is on.
    """

    now: float = field(default_factory=time.time)
    traffic: HttpCounts | None = None
    run: RunRow | None = None
    ranks: Sequence[RankRow] = ()
    commands: Mapping[tuple[Kind, CommandState], int] = field(default_factory=dict)
    delays: CommandDelays | None = None
    record_count: int | None = None
    last_record: RecordVersion | None = None
    disk: Disk | None = None
    alerts: Mapping[str, bool] = field(default_factory=dict)

    @property
    def snapshot(self) -> Mapping[str, Any]:
        """The live snapshot, empty before the first."""
        return (self.run.snapshot if self.run else None) or {}

    def number(self, key: str) -> float | None:
        """A value of the live snapshot."""
        return as_number(self.snapshot.get(key))

    def fact(self, name: str) -> float | None:
        """A fact that the trainer told of itself."""
        return as_number(((self.run.facts if self.run else None) or {}).get(name))

    def setting(self, name: str) -> float | None:
        """The number of a setting as it is in force: what was set since the start, or the start's."""
        if self.run is None:
            return None
        changes = (self.run.live or {}).get("changes", {})
        return as_number(changes.get(name, self.run.config.get(name)))

    def rank_values(self) -> Sequence[Mapping[str, Any]]:
        """What the snapshot says of the ranks, in their order."""
        return self.snapshot.get("per_rank") or ()


@dataclass(frozen=True)
class Histogram:
    """Values counted by size: `counts` says how many do not exceed each of `bounds`, `count` all, `total` their sum."""

    bounds: Sequence[float]
    counts: Sequence[int]
    count: int
    total: float


Value = float | Histogram | None
"""None is left out."""
Sample = tuple[Sequence[str], Value]


@dataclass(frozen=True)
class MetricDefinition:
    """One metric; a counter if its name ends in `_total`, a histogram if `is_histogram`, else a gauge."""

    name: str
    meaning: str
    read: Callable[[Scrape], Iterable[Sample]]
    labels: tuple[str, ...] = ()
    is_histogram: bool = False

    @property
    def kind(self) -> str:
        """Its type in Prometheus' words."""
        if self.is_histogram:
            return "histogram"
        return "counter" if self.name.endswith("_total") else "gauge"


def as_number(unlabelled: Any) -> float | None:
    """A number of the snapshot, or whether something holds as 1 or 0."""
    return float(unlabelled) if isinstance(unlabelled, int | float) else None


def unlabelled(name: str, meaning: str, read: Callable[[Scrape], float | None]) -> MetricDefinition:
    """One value without labels."""
    return MetricDefinition(name, meaning, lambda scrape: [((), read(scrape))])


def from_snapshot(name: str, meaning: str, key: str, factor: float = 1.0) -> MetricDefinition:
    """One value of the snapshot, times a factor."""
    return unlabelled(name, meaning, lambda scrape: _times(scrape.number(key), factor))


def labelled(name: str, meaning: str, label: str, keys: Mapping[str, str]) -> MetricDefinition:
    """Several values of the snapshot, told apart by one label: {label's value: key}."""
    return MetricDefinition(
        name, meaning, lambda scrape: [((text,), scrape.number(key)) for text, key in keys.items()], (label,)
    )


def state_set(name: str, meaning: str, label: str, key: str, choices: Iterable[str]) -> MetricDefinition:
    """A word of the snapshot as a set of states: 1 for the one that holds, 0 for the others."""
    words = tuple(choices)

    def read(scrape: Scrape) -> Iterable[Sample]:
        present = scrape.snapshot.get(key)
        return [] if present is None else [((word,), float(word == present)) for word in words]

    return MetricDefinition(name, meaning, read, (label,))


def by_rank(name: str, meaning: str, key: str, factor: float = 1.0) -> MetricDefinition:
    """One value of the snapshot for every rank, times a factor."""

    def read(scrape: Scrape) -> Iterable[Sample]:
        for row in scrape.rank_values():
            yield (str(row.get("rank")),), _times(as_number(row.get(key)), factor)

    return MetricDefinition(name, meaning, read, ("rank",))


def of_rank(name: str, meaning: str, read: Callable[[RankRow], float | None]) -> MetricDefinition:
    """One value for every rank, as rank 0's watchdog last heard of it."""
    return MetricDefinition(
        name, meaning, lambda scrape: [((str(row.rank),), read(row)) for row in scrape.ranks], ("rank",)
    )


def of_run(name: str, meaning: str, read: Callable[[RunRow], float]) -> MetricDefinition:
    """One value of the run's row."""
    return unlabelled(name, meaning, lambda scrape: read(scrape.run) if scrape.run else None)


def of_fact(name: str, meaning: str, fact: str) -> MetricDefinition:
    """One fact of the trainer."""
    return unlabelled(name, meaning, lambda scrape: scrape.fact(fact))


def _times(unlabelled: float | None, factor: float) -> float | None:
    return None if unlabelled is None else unlabelled * factor
