"""How much this process is asked: requests by route, how long answers take, what is open now."""

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

BOUNDS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
NO_ROUTE = "none"
OF_A_RUN = "/runs/<run>"
METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PATCH", "DELETE", "PUT"})
TOO_MANY = 429
STREAM = "text/event-stream"


@dataclass
class Durations:
    """Of one route's answers. `sizes` says how many fall between two of BOUNDS_SECONDS, the last beyond all."""

    sizes: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_SECONDS) + 1))
    total_seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one answer."""
        self.sizes[bisect_left(BOUNDS_SECONDS, seconds)] += 1
        self.total_seconds += seconds

    def copy(self) -> "Durations":
        """As they are now."""
        return Durations(list(self.sizes), self.total_seconds)

    @property
    def count(self) -> int:
        """All answers."""
        return sum(self.sizes)

    @property
    def counts(self) -> tuple[int, ...]:
        """How many answers did not take longer than each of BOUNDS_SECONDS."""
        return tuple(sum(self.sizes[: place + 1]) for place in range(len(BOUNDS_SECONDS)))


@dataclass(frozen=True)
class HttpCounts:
    """All of it at one moment. `requests` counts by (method, route, class of status), `durations` are by route."""

    requests: Mapping[tuple[str, str, str], int]
    durations: Mapping[str, Durations]
    in_progress: int
    waiting: int
    streams: int
    rate_limited: int


class HttpStats:
    """Counts every request of one application, whoever refuses it; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str, str]] = Counter()
        self._durations: dict[str, Durations] = {}
        self._in_progress = 0
        self._waiting = 0
        self._streams = 0
        self._rate_limited = 0

    def watch(self, app: App) -> None:
        """Count from now on."""
        app.extensions["leitstand.traffic"] = self  # signals do not keep alive what they are sent to
        request_started.connect(self._begin, app)
        request_finished.connect(self._end, app)

    def counts(self) -> HttpCounts:
        """As it is now."""
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
        g.traffic = (time.perf_counter(), request.method != "GET" and "wait" in request.args)
        with self._lock:
            self._in_progress += 1
            self._waiting += g.traffic[1]

    def _end(self, _app: Flask, response: Response, **_: Any) -> None:
        began, waits = g.pop("traffic")  # set by `_begin`: every request begins and ends once
        route, method = _route(), request.method if request.method in METHODS else "other"
        is_stream = response.mimetype == STREAM
        with self._lock:
            self._in_progress -= 1
            self._waiting -= waits
            self._streams += is_stream
            self._rate_limited += response.status_code == TOO_MANY
            self._requests[method, route, f"{response.status_code // 100}xx"] += 1
            self._durations.setdefault(route, Durations()).add(time.perf_counter() - began)
        if is_stream:
            response.call_on_close(self._close_stream)

    def _close_stream(self) -> None:
        with self._lock:
            self._streams -= 1


def _route() -> str:
    """The template that the request came by, the same below `/runs/<run>`: so many routes there are, and no more."""
    if request.url_rule is None:
        return NO_ROUTE
    is_below = (request.blueprint or "").startswith(PREFIX)
    return request.url_rule.rule.removeprefix(OF_A_RUN) if is_below else request.url_rule.rule
