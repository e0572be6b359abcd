"""The Prometheus collector that turns one scrape of a run into metric families."""

from collections.abc import Callable, Iterator, Sequence

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from api.metrics.definition import Histogram, MetricDefinition, Scrape, Value


class RowCollector(Collector):
    """Rows of the table as metric families."""

    def __init__(self, rows: Sequence[MetricDefinition], scrape: Callable[[], Scrape]) -> None:
        self._rows = rows
        self._scrape = scrape

    def collect(self) -> Iterator[Metric]:
        """One family for every row that has a value. Raises `StoreUnavailableError`."""
        scrape = self._scrape()
        for row in self._rows:
            family = _family(row, scrape)
            if family.samples:
                yield family


def _family(row: MetricDefinition, scrape: Scrape) -> Metric:
    family = _empty_family(row)
    for labels, value in row.read(scrape):
        if value is not None:
            _add(family, labels, value)
    return family


def _empty_family(row: MetricDefinition) -> Metric:
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
