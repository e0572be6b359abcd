"""`/metrics`: what Prometheus scrapes, made from the store once per scrape. The trainer is never asked."""

from flask import Blueprint, Response, request
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.openmetrics import exposition as open_metrics

from api.http.operation import Answer, Scope, operation
from api.metrics.catalog import METRICS, RUN_METRICS
from api.metrics.collector import MetricsCollector
from api.metrics.http_stats import HttpStats
from api.metrics.scrape import scrape_run
from api.runs.context import PREFIX, current_run_context

TEXT = Answer(media_type="text/plain", description="the metrics in Prometheus' text format")
TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = Answer(media_type="application/openmetrics-text", description="the same as OpenMetrics, where accepted")


def create_blueprint() -> Blueprint:
    """Create the route with its own registries, so that prometheus_client's global registry is not used.

    `/metrics` serves the default run and the API process, `/runs/<run>/metrics` only that run.
    """
    http_stats = HttpStats()
    all_metrics, run_metrics = CollectorRegistry(auto_describe=False), CollectorRegistry(auto_describe=False)
    all_metrics.register(MetricsCollector(METRICS, lambda: scrape_run(current_run_context(), http_stats.counts())))
    ProcessCollector(registry=all_metrics)
    PlatformCollector(registry=all_metrics)
    run_metrics.register(MetricsCollector(RUN_METRICS, lambda: scrape_run(current_run_context(), None)))
    blueprint = Blueprint("metrics", __name__)
    blueprint.record_once(lambda state: http_stats.connect(state.app))

    @blueprint.get("/metrics")
    @operation(Scope.READ, answers=[TEXT, OPEN_METRICS], problems=["not-found", "storage-unavailable"])
    def show() -> Response:
        """Everything that Prometheus may want to know of a run, and at `/metrics` of the API itself."""
        registry = run_metrics if (request.blueprint or "").startswith(PREFIX) else all_metrics
        if _prefers_open_metrics():
            body = open_metrics.generate_latest(registry)  # type: ignore[no-untyped-call]
            response = Response(body, content_type=open_metrics.CONTENT_TYPE_LATEST)
        else:
            response = Response(generate_latest(registry), content_type=TEXT_TYPE)
        response.vary.add("Accept")
        return response

    return blueprint


def _prefers_open_metrics() -> bool:
    """Whether the Accept header names OpenMetrics with at least the quality of plain text; ignores versions."""
    qualities = {"text/plain": 0.0, OPEN_METRICS.media_type: 0.0}
    for value, quality in request.accept_mimetypes:
        name = value.partition(";")[0]
        qualities[name] = max(quality, qualities.get(name, 0.0))
    return 0.0 < qualities[OPEN_METRICS.media_type] >= qualities["text/plain"]
