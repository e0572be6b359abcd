"""Prometheus collector that converts one scrape into metric families."""

from collections.abc import Callable, Iterator, Sequence

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from api.metrics.definition import Histogram, MetricDefinition, Scrape, Value


class MetricsCollector(Collector):
    """Collector for a list of metric definitions."""

    def __init__(self, definitions: Sequence[MetricDefinition], scrape: Callable[[], Scrape]) -> None:
        self._definitions = definitions
        self._scrape = scrape

    def collect(self) -> Iterator[Metric]:
        """Scrape once and yield a family for every metric that has a value; raises `StoreUnavailableError`."""
        scrape = self._scrape()
        for definition in self._definitions:
            family = _family(definition, scrape)
            if family.samples:
                yield family


def _family(definition: MetricDefinition, scrape: Scrape) -> Metric:
    family = _empty_family(definition)
    for labels, value in definition.read(scrape):
        if value is not None:
            _add_sample(family, labels, value)
    return family


def _empty_family(definition: MetricDefinition) -> Metric:
    if definition.is_histogram:
        return HistogramMetricFamily(definition.name, definition.meaning, labels=definition.labels)
    if definition.kind == "counter":
        return CounterMetricFamily(definition.name.removesuffix("_total"), definition.meaning, labels=definition.labels)
    return GaugeMetricFamily(definition.name, definition.meaning, labels=definition.labels)


def _add_sample(family: Metric, labels: Sequence[str], value: Value) -> None:
    if isinstance(family, HistogramMetricFamily):
        assert isinstance(value, Histogram)
        buckets = [(str(float(bound)), float(count)) for bound, count in zip(value.bounds, value.counts, strict=True)]
        family.add_metric(labels, [*buckets, ("+Inf", float(value.count))], sum_value=value.total)
    elif isinstance(family, CounterMetricFamily | GaugeMetricFamily):
        assert isinstance(value, float | int)
        family.add_metric(labels, value)
