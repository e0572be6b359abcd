"""Catalog of all metrics: name, meaning, labels and source of the value.

Names follow Prometheus: base units, ratios 0…1, `_total` on counters, labels with few values. An unknown value is
omitted. docs/api.md lists this catalog.
"""

from api.metrics.definition import MetricDefinition, Scrape
from api.metrics.families import commands, ledger, ranks, run, server, storage, training, validation

__all__ = ["METRICS", "RUN_METRICS", "SERVER_METRICS", "MetricDefinition", "Scrape"]

RUN_METRICS: tuple[MetricDefinition, ...] = (
    *run.METRICS,
    *ledger.METRICS,
    *training.METRICS,
    *ranks.METRICS,
    *validation.METRICS,
    *storage.METRICS,
    *commands.METRICS,
)
"""Metrics of one run: served by `/metrics` for the default run and by `/runs/<run>/metrics` for any run."""

SERVER_METRICS: tuple[MetricDefinition, ...] = server.METRICS
"""Metrics of the API process: served by `/metrics` only."""

METRICS: tuple[MetricDefinition, ...] = (*SERVER_METRICS, *RUN_METRICS)
