"""A real Prometheus watches a real run: all is there, and an alert fires when a rank stops and clears after it."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.metrics.catalog import METRICS
from service.commands import Kind
from tests.api.harness.prometheus_process import firing_alerts, prometheus, query_result
from tests.e2e.tiny_run import TinyRun

Eventually = Callable[..., None]
ALERT = "LeitstandRunStalled"
STATE = "leitstand_run_state"

pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason="Prometheus is not installed")


@pytest.fixture
def rules(repository: Path, tmp_path: Path) -> Path:
    """The rules as they are, but that none waits longer than a second."""
    content = yaml.safe_load((repository / "deploy/prometheus/alerts.yml").read_text())
    for rule in content["groups"][0]["rules"]:
        rule["for"] = "1s"
    path = tmp_path / "alerts.yml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def watched(run: TinyRun, rules: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a Prometheus that watches the run closely."""
    port = int(run.url.rpartition(":")[2])
    with prometheus(tmp_path, port, interval="1s", rules=rules) as url:
        yield url


OF_INCIDENTS = {"leitstand_last_recovery_seconds"}
"""Metrics without a value as long as nothing has happened to a run."""


def names(url: str) -> set[str]:
    """Of Leitstand's metrics that Prometheus has; of a histogram, that of its buckets."""
    return {found["metric"]["__name__"] for found in query_result(url, '{__name__=~"leitstand_.+"}')}


def test_a_run_shows_everything_and_an_alert_fires_while_a_rank_is_stopped(
    run: TinyRun, watched: str, eventually: Eventually
) -> None:
    run.validation_gate.touch()
    run.start(EMA_DECAY=0.9, STALL_SECONDS=2)
    with run.client() as client:
        run.wait_for_step(client, 30)  # a checkpoint and a validation are behind it
        client.wait(client.submit(Kind.VALIDATE)["id"], 60)
        wanted = {f"{row.name}_bucket" if row.is_histogram else row.name for row in METRICS} - OF_INCIDENTS
        eventually(lambda: wanted <= names(watched), what="everything that there is to know")
        eventually(lambda: query_result(watched, f"{STATE}{{state='running'}} == 1"), what="a running training")
        assert ALERT not in firing_alerts(watched)

        with stopped(client.ranks()["ranks"][1]["pid"]):
            fired: dict[str, dict[str, Any]] = {}
            eventually(lambda: fired.update(firing_alerts(watched)) or ALERT in fired, what="the alert")
            eventually(lambda: query_result(watched, "leitstand_stalls_total > 0"), what="the watchdog's word")
            eventually(lambda: query_result(watched, f"{STATE}{{state='stalled'}} == 1"), what="the state")
            step = client.state()["step_live"]

        alert = fired[ALERT]
        assert (alert["labels"]["severity"], alert["labels"]["state"]) == ("critical", "stalled")
        assert "leitstand ranks" in alert["annotations"]["description"]
        eventually(lambda: ALERT not in firing_alerts(watched), what="the end of the alert")
        run.wait_for_step(client, step + 1)
        eventually(lambda: names(watched) >= OF_INCIDENTS, what="how long the stall has lasted")
        client.submit(Kind.STOP)
    assert run.processes[-1].wait(timeout=60) == 0, run.output()


@contextmanager
def stopped(pid: int | None) -> Iterator[None]:
    """The process stands still within."""
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
