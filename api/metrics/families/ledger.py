"""Metrics of a run's ledger: what its wall time went to, and its incidents."""

from collections.abc import Iterable

from api.metrics.definition import MetricDefinition, Sample, Scrape, unlabelled
from service.run.ledger.incident import IncidentKind


def _seconds(scrape: Scrape) -> Iterable[Sample]:
    return [] if scrape.ledger is None else [((use.value,), seconds) for use, seconds in scrape.ledger.seconds.items()]


def _incidents(scrape: Scrape) -> Iterable[Sample]:
    if scrape.ledger is None:
        return []
    counts = scrape.ledger.incident_counts
    return [((kind.value,), float(counts.get(kind.value, 0))) for kind in IncidentKind]


def _last_recovery_seconds(scrape: Scrape) -> float | None:
    incidents = () if scrape.ledger is None else scrape.ledger.incidents
    known = (one.recovery_seconds for one in incidents if one.is_over)
    return next((seconds for seconds in known if seconds is not None), None)


METRICS: tuple[MetricDefinition, ...] = (
    unlabelled(
        "leitstand_run_useful_time_ratio",
        "Time in steps whose work was kept, of the wall time whose use is known",
        lambda scrape: None if scrape.ledger is None else scrape.ledger.useful_time_ratio,
    ),
    MetricDefinition(
        "leitstand_run_time_seconds", "What the wall time since the run's first start went to", _seconds, ("use",)
    ),
    MetricDefinition("leitstand_incidents", "Incidents of the run so far", _incidents, ("kind",)),
    unlabelled(
        "leitstand_incident_steps_lost",
        "Steps that incidents of the run have cost",
        lambda scrape: None if scrape.ledger is None else scrape.ledger.steps_lost,
    ),
    unlabelled(
        "leitstand_last_recovery_seconds",
        "From noticing the last incident until all trained again",
        _last_recovery_seconds,
    ),
)
