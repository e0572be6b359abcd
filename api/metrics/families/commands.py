"""Metrics of the commands of a run."""

from collections.abc import Iterable

from api.metrics.definition import Histogram, MetricDefinition, Sample, Scrape
from service.commands import CommandState, Kind
from service.store.queries.command_delays import DELAY_BUCKETS_SECONDS

FINAL_STATES = tuple(state for state in CommandState if state.is_final)
OPEN_STATES = tuple(state for state in CommandState if not state.is_final)


def _ended(scrape: Scrape) -> Iterable[Sample]:
    """Count ended commands only: a counter must not decrease when a command leaves the queue."""
    if scrape.run is None:
        return []
    return [
        ((kind.value, state.value), float(scrape.commands.get((kind, state), 0)))
        for kind in Kind
        for state in FINAL_STATES
    ]


def _open(scrape: Scrape) -> Iterable[Sample]:
    if scrape.run is None:
        return []
    return [
        ((state.value,), float(sum(scrape.commands.get((kind, state), 0) for kind in Kind))) for state in OPEN_STATES
    ]


def _delays(scrape: Scrape) -> Iterable[Sample]:
    delays = scrape.delays
    if delays is None:
        return []
    return [((), Histogram(DELAY_BUCKETS_SECONDS, delays.counts, delays.count, delays.total_seconds))]


METRICS: tuple[MetricDefinition, ...] = (
    MetricDefinition("leitstand_commands_total", "Ended commands by kind and outcome", _ended, ("kind", "state")),
    MetricDefinition("leitstand_commands_open", "Commands that wait or are carried out", _open, ("state",)),
    MetricDefinition(
        "leitstand_command_delay_seconds", "From acceptance until a command began", _delays, is_histogram=True
    ),
)
