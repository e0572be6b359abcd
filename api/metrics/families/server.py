"""Metrics of the API process, independent of the run; served by `/metrics` only."""

from collections.abc import Callable, Iterable

from api.metrics.definition import Histogram, MetricDefinition, Sample, Scrape, unlabelled
from api.metrics.http_stats import RESPONSE_BUCKETS_SECONDS, HttpCounts
from service import __version__


def _build_info(scrape: Scrape) -> Iterable[Sample]:
    return [((__version__,), 1.0)] if scrape.http_counts else []


def _requests(scrape: Scrape) -> Iterable[Sample]:
    requests = sorted(scrape.http_counts.requests.items()) if scrape.http_counts else []
    return [(labels, float(count)) for labels, count in requests]


def _durations(scrape: Scrape) -> Iterable[Sample]:
    by_route = sorted(scrape.http_counts.durations.items()) if scrape.http_counts else []
    return [
        ((route,), Histogram(RESPONSE_BUCKETS_SECONDS, durations.counts, durations.count, durations.total_seconds))
        for route, durations in by_route
    ]


def _from_http_counts(name: str, meaning: str, read: Callable[[HttpCounts], int]) -> MetricDefinition:
    return unlabelled(name, meaning, lambda scrape: read(scrape.http_counts) if scrape.http_counts else None)


METRICS: tuple[MetricDefinition, ...] = (
    MetricDefinition("leitstand_build_info", "Version of the API, always 1", _build_info, ("version",)),
    MetricDefinition(
        "leitstand_api_requests_total",
        "Requests answered, by route and class of status",
        _requests,
        ("method", "route", "status"),
    ),
    MetricDefinition(
        "leitstand_api_request_duration_seconds",
        "Time until an answer was ready to be sent",
        _durations,
        ("route",),
        is_histogram=True,
    ),
    _from_http_counts(
        "leitstand_api_requests_in_progress", "Requests without an answer yet", lambda counts: counts.in_progress
    ),
    _from_http_counts(
        "leitstand_api_waiting_requests", "Those that wait for a command's end", lambda counts: counts.waiting
    ),
    _from_http_counts("leitstand_api_event_streams", "Streams of events that are open", lambda counts: counts.streams),
    _from_http_counts(
        "leitstand_api_rate_limited_total", "Requests refused because too many came", lambda counts: counts.rate_limited
    ),
)
