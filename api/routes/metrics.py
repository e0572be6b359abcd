"""`/metrics`: what Prometheus scrapes, made from the store once per scrape. The trainer is never asked."""

from flask import Blueprint, Response, request
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.openmetrics import exposition as open_metrics

from api.http.operation import Answer, Scope, operation
from api.metrics.catalog import METRICS, RUN_METRICS
from api.metrics.collector import RowCollector
from api.metrics.http_stats import HttpStats
from api.metrics.scrape import scrape_run
from api.runs.context import PREFIX, current_run_context

TEXT = Answer(media_type="text/plain", description="the metrics in Prometheus' text format")
TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = Answer(media_type="application/openmetrics-text", description="the same as OpenMetrics, where accepted")


def create_blueprint() -> Blueprint:
    """The route, with registries of its own: nothing global is registered or shown.

    At `/metrics` the default run and the API itself, at `/runs/<run>/metrics` that run.
    """
    traffic = HttpStats()
    everything, one_run = CollectorRegistry(auto_describe=False), CollectorRegistry(auto_describe=False)
    everything.register(RowCollector(METRICS, lambda: scrape_run(current_run_context(), traffic.counts())))
    ProcessCollector(registry=everything)
    PlatformCollector(registry=everything)
    one_run.register(RowCollector(RUN_METRICS, lambda: scrape_run(current_run_context(), None)))
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
