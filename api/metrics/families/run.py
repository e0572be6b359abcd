"""Metrics of the run as a whole: identity, state, heartbeat, progress and alerts."""

from collections.abc import Iterable

from api.metrics.definition import MetricDefinition, Sample, Scrape, from_run, from_trainer_stats
from service.run.state import RunState


def _info(scrape: Scrape) -> Iterable[Sample]:
    return [((scrape.run.id,), 1.0)] if scrape.run else []


def _states(scrape: Scrape) -> Iterable[Sample]:
    current = scrape.run.reported_state(scrape.now) if scrape.run else None
    return [((state.value,), float(state is current)) for state in RunState]


def _alerts(scrape: Scrape) -> Iterable[Sample]:
    return [((name,), float(is_on)) for name, is_on in scrape.alerts.items()]


METRICS: tuple[MetricDefinition, ...] = (
    MetricDefinition("leitstand_run_info", "Identity of the run, always 1", _info, ("run_id",)),
    MetricDefinition("leitstand_run_state", "1 for the state that the run is in, else 0", _states, ("state",)),
    from_run("leitstand_run_start_timestamp_seconds", "Last start of the trainer", lambda run: run.started_at),
    from_run("leitstand_heartbeat_timestamp_seconds", "Last sign of life of the trainer", lambda run: run.heartbeat_at),
    from_run("leitstand_progress_timestamp_seconds", "Last progress of the trainer", lambda run: run.progress_at),
    from_trainer_stats(
        "leitstand_stalls_total", "Times that a rank was found to hang, since the trainer's start", "stalls"
    ),
    MetricDefinition("leitstand_alert", "1 for every alert that is on, else 0", _alerts, ("name",)),
)
