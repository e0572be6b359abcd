"""`/metrics`: what Prometheus scrapes, made from the store once per scrape. The trainer is never asked."""

import time
from collections.abc import Iterator

from flask import Blueprint, Response, request
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from api.metric_table import METRICS, MetricRow, Scrape
from api.reader import current_reader


class RunCollector(Collector):
    """The current run as metric families."""

    def collect(self) -> Iterator[Metric]:
        """One family for every row of the table that has a value. Raises `StoreUnavailableError`."""
        scrape = self._scrape()
        for row in METRICS:
            family = _family(row, scrape)
            if family.samples:
                yield family

    def _scrape(self) -> Scrape:
        reader = current_reader()
        run = reader.find_run()
        commands = reader.store.commands(run.id) if run else []
        try:
            record_count = reader.place.records.count() if reader.place else None
        except OSError:
            record_count = None
        return Scrape(run, commands, record_count, time.time())


def create_blueprint() -> Blueprint:
    """The route, with a registry of its own: nothing global is registered or shown."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(RunCollector())
    blueprint = Blueprint("metrics", __name__)

    @blueprint.get("/metrics")
    def show() -> Response:
        """Prometheus text, or OpenMetrics where the scraper accepts it."""
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return Response(encode(registry), content_type=content_type)

    return blueprint


def _family(row: MetricRow, scrape: Scrape) -> Metric:
    family: CounterMetricFamily | GaugeMetricFamily
    if row.name.endswith("_total"):
        family = CounterMetricFamily(row.name.removesuffix("_total"), row.meaning, labels=row.labels)
    else:
        family = GaugeMetricFamily(row.name, row.meaning, labels=row.labels)
    for labels, value in row.read(scrape):
        if value is not None:
            family.add_metric(labels, value)
    return family
