"""HTTP statistics of this process: requests by route, response times, and open requests and streams."""

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, Response, g, request, request_finished, request_started
from flask.sansio.app import App

from api.runs.context import PREFIX

RESPONSE_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
NO_ROUTE = "none"
RUN_ROUTE_PREFIX = "/runs/<run>"
METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PATCH", "DELETE", "PUT"})
TOO_MANY_REQUESTS = 429
STREAM_MEDIA_TYPE = "text/event-stream"


@dataclass
class Durations:
    """Response times of one route: `counts_by_bucket` has one count per bucket, the last for times above all bounds."""

    counts_by_bucket: list[int] = field(default_factory=lambda: [0] * (len(RESPONSE_BUCKETS_SECONDS) + 1))
    total_seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one response that took `seconds`."""
        self.counts_by_bucket[bisect_left(RESPONSE_BUCKETS_SECONDS, seconds)] += 1
        self.total_seconds += seconds

    def copy(self) -> "Durations":
        """Return an independent copy."""
        return Durations(list(self.counts_by_bucket), self.total_seconds)

    @property
    def count(self) -> int:
        """Number of all responses."""
        return sum(self.counts_by_bucket)

    @property
    def counts(self) -> tuple[int, ...]:
        """Cumulative numbers of responses that took at most each of RESPONSE_BUCKETS_SECONDS."""
        return tuple(sum(self.counts_by_bucket[: index + 1]) for index in range(len(RESPONSE_BUCKETS_SECONDS)))


@dataclass(frozen=True)
class HttpCounts:
    """Copy of the statistics: `requests` by (method, route, class of status), `durations` by route."""

    requests: Mapping[tuple[str, str, str], int]
    durations: Mapping[str, Durations]
    in_progress: int
    waiting: int
    streams: int
    rate_limited: int


class HttpStats:
    """Counts every request of one application, including rejected ones; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str, str]] = Counter()
        self._durations: dict[str, Durations] = {}
        self._in_progress = 0
        self._waiting = 0
        self._streams = 0
        self._rate_limited = 0

    def connect(self, app: App) -> None:
        """Start counting the requests of `app`."""
        app.extensions["leitstand.http_stats"] = self  # signals hold only weak references to their receivers
        request_started.connect(self._begin, app)
        request_finished.connect(self._end, app)

    def counts(self) -> HttpCounts:
        """Return a copy of the current statistics."""
        with self._lock:
            return HttpCounts(
                dict(self._requests),
                {route: durations.copy() for route, durations in self._durations.items()},
                self._in_progress,
                self._waiting,
                self._streams,
                self._rate_limited,
            )

    def _begin(self, _app: Flask, **_: Any) -> None:
        g.request_timing = (time.perf_counter(), request.method != "GET" and "wait" in request.args)
        with self._lock:
            self._in_progress += 1
            self._waiting += g.request_timing[1]

    def _end(self, _app: Flask, response: Response, **_: Any) -> None:
        started_at, is_waiting = g.pop("request_timing")  # set by `_begin`: every request begins and ends once
        route, method = _route(), request.method if request.method in METHODS else "other"
        is_stream = response.mimetype == STREAM_MEDIA_TYPE
        with self._lock:
            self._in_progress -= 1
            self._waiting -= is_waiting
            self._streams += is_stream
            self._rate_limited += response.status_code == TOO_MANY_REQUESTS
            self._requests[method, route, f"{response.status_code // 100}xx"] += 1
            self._durations.setdefault(route, Durations()).add(time.perf_counter() - started_at)
        if is_stream:
            response.call_on_close(self._close_stream)

    def _close_stream(self) -> None:
        with self._lock:
            self._streams -= 1


def _route() -> str:
    """Return the template of the request's route without `/runs/<run>`, which bounds the number of label values."""
    if request.url_rule is None:
        return NO_ROUTE
    is_run_route = (request.blueprint or "").startswith(PREFIX)
    return request.url_rule.rule.removeprefix(RUN_ROUTE_PREFIX) if is_run_route else request.url_rule.rule
