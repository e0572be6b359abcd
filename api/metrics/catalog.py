"""The table of metrics: name, meaning, labels, and where the value comes from.

Names follow Prometheus: base units, ratios 0…1, `_total` on counters, labels with few values. A value that is not
known is left out. docs/api.md shows this table.
"""

from api.metrics.definition import MetricDefinition, Scrape
from api.metrics.families import commands, ranks, run, server, storage, training, validation

__all__ = ["METRICS", "RUN_METRICS", "SERVER_METRICS", "MetricDefinition", "Scrape"]

RUN_METRICS: tuple[MetricDefinition, ...] = (
    *run.ROWS,
    *training.ROWS,
    *ranks.ROWS,
    *validation.ROWS,
    *storage.ROWS,
    *commands.ROWS,
)
"""Of one run: by `/metrics` of the default one, by `/runs/<run>/metrics` of any."""

SERVER_METRICS: tuple[MetricDefinition, ...] = server.ROWS
"""Of the API itself: by `/metrics` alone."""

METRICS: tuple[MetricDefinition, ...] = (*SERVER_METRICS, *RUN_METRICS)
