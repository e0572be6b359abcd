"""Metrics of the API itself, the same whichever run is asked about; only `/metrics` shows them."""

from collections.abc import Callable, Iterable

from api.metrics.definition import Histogram, MetricDefinition, Sample, Scrape, unlabelled
from api.metrics.http_stats import BOUNDS_SECONDS, HttpCounts
from service import __version__


def _build(scrape: Scrape) -> Iterable[Sample]:
    return [((__version__,), 1.0)] if scrape.traffic else []


def _requests(scrape: Scrape) -> Iterable[Sample]:
    return (
        [(labels, float(count)) for labels, count in sorted(scrape.traffic.requests.items())] if scrape.traffic else []
    )


def _durations(scrape: Scrape) -> Iterable[Sample]:
    found = sorted(scrape.traffic.durations.items()) if scrape.traffic else []
    return [((route,), Histogram(BOUNDS_SECONDS, took.counts, took.count, took.total_seconds)) for route, took in found]


def _of_traffic(name: str, meaning: str, read: Callable[[HttpCounts], int]) -> MetricDefinition:
    return unlabelled(name, meaning, lambda scrape: read(scrape.traffic) if scrape.traffic else None)


ROWS: tuple[MetricDefinition, ...] = (
    MetricDefinition("leitstand_build_info", "Version of the API, always 1", _build, ("version",)),
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
    _of_traffic("leitstand_api_requests_in_progress", "Requests without an answer yet", lambda seen: seen.in_progress),
    _of_traffic("leitstand_api_waiting_requests", "Those that wait for a command's end", lambda seen: seen.waiting),
    _of_traffic("leitstand_api_event_streams", "Streams of events that are open", lambda seen: seen.streams),
    _of_traffic(
        "leitstand_api_rate_limited_total", "Requests refused because too many came", lambda seen: seen.rate_limited
    ),
)
