"""`/metrics`: what Prometheus scrapes, made from the store once per scrape. The trainer is never asked."""

from collections.abc import Callable, Iterator, Sequence

from flask import Blueprint, Response, request
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.openmetrics import exposition as open_metrics
from prometheus_client.registry import Collector

from api.contract import Answer, Scope, operation
from api.metric_rows.row import Histogram, MetricRow, Scrape, Value
from api.metric_table import METRICS, RUN_METRICS
from api.reader import PREFIX, current_reader
from api.scraping import scrape_run
from api.traffic import Traffic

TEXT = Answer(media_type="text/plain", description="the metrics in Prometheus' text format")
TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = Answer(media_type="application/openmetrics-text", description="the same as OpenMetrics, where accepted")


class RowCollector(Collector):
    """Rows of the table as metric families."""

    def __init__(self, rows: Sequence[MetricRow], scrape: Callable[[], Scrape]) -> None:
        self._rows = rows
        self._scrape = scrape

    def collect(self) -> Iterator[Metric]:
        """One family for every row that has a value. Raises `StoreUnavailableError`."""
        scrape = self._scrape()
        for row in self._rows:
            family = _family(row, scrape)
            if family.samples:
                yield family


def create_blueprint() -> Blueprint:
    """The route, with registries of its own: nothing global is registered or shown.

    At `/metrics` the default run and the API itself, at `/runs/<run>/metrics` that run.
    """
    traffic = Traffic()
    everything, one_run = CollectorRegistry(auto_describe=False), CollectorRegistry(auto_describe=False)
    everything.register(RowCollector(METRICS, lambda: scrape_run(current_reader(), traffic.counts())))
    ProcessCollector(registry=everything)
    PlatformCollector(registry=everything)
    one_run.register(RowCollector(RUN_METRICS, lambda: scrape_run(current_reader(), None)))
    blueprint = Blueprint("metrics", __name__)
    blueprint.record_once(lambda state: traffic.watch(state.app))

    @blueprint.get("/metrics")
    @operation(Scope.READ, answers=[TEXT, OPEN_METRICS], problems=["not-found", "storage-unavailable"])
    def show() -> Response:
        """Everything that Prometheus may want to know of a run, and at `/metrics` of the API itself."""
        registry = one_run if (request.blueprint or "").startswith(PREFIX) else everything
        if _prefers_open_metrics():
            body = open_metrics.generate_latest(registry)  # type: ignore[no-untyped-call]
            response = Response(body, content_type=open_metrics.CONTENT_TYPE_LATEST)
        else:
            response = Response(generate_latest(registry), content_type=TEXT_TYPE)
        response.vary.add("Accept")
        return response

    return blueprint


def _prefers_open_metrics() -> bool:
    """Whether the Accept header has it, and not below plain text; of either there is one version only."""
    wanted = {"text/plain": 0.0, OPEN_METRICS.media_type: 0.0}
    for value, quality in request.accept_mimetypes:
        name = value.partition(";")[0]
        wanted[name] = max(quality, wanted.get(name, 0.0))
    return 0.0 < wanted[OPEN_METRICS.media_type] >= wanted["text/plain"]


def _family(row: MetricRow, scrape: Scrape) -> Metric:
    family = _empty_family(row)
    for labels, value in row.read(scrape):
        if value is not None:
            _add(family, labels, value)
    return family


def _empty_family(row: MetricRow) -> Metric:
    if row.is_histogram:
        return HistogramMetricFamily(row.name, row.meaning, labels=row.labels)
    if row.kind == "counter":
        return CounterMetricFamily(row.name.removesuffix("_total"), row.meaning, labels=row.labels)
    return GaugeMetricFamily(row.name, row.meaning, labels=row.labels)


def _add(family: Metric, labels: Sequence[str], value: Value) -> None:
    if isinstance(family, HistogramMetricFamily):
        assert isinstance(value, Histogram)
        buckets = [(str(float(bound)), float(count)) for bound, count in zip(value.bounds, value.counts, strict=True)]
        family.add_metric(labels, [*buckets, ("+Inf", float(value.count))], sum_value=value.total)
    elif isinstance(family, CounterMetricFamily | GaugeMetricFamily):
        assert isinstance(value, float | int)
        family.add_metric(labels, value)
