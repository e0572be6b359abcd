"""A real Prometheus scrapes the real server and answers questions about the run."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.api.example_run import LAST_STEP, RUN_ID
from tests.api.serving import Server, free_port, serving

pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason="Prometheus is not installed")


@pytest.fixture
def ask(tmp_path: Path, server: Server) -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    """Ask a Prometheus that scrapes the server: the result of a query."""
    with prometheus(tmp_path, server.port) as url:
        yield lambda query: query_result(url, query)


@contextmanager
def prometheus(folder: Path, target_port: int, extra: str = "") -> Iterator[str]:
    """Prometheus on loopback, its storage in `folder`, scraping one target; yields its URL."""
    port = free_port()
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
        "scrape_configs:\n"
        f"  - job_name: leitstand\n{extra}"
        f"    static_configs: [{{targets: ['127.0.0.1:{target_port}']}}]\n"
    )
    command = [
        "prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
    ]  # fmt: skip
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def query_result(url: str, query: str) -> list[dict[str, Any]]:
    """The result of an instant query; empty while Prometheus is not up yet."""
    try:
        answer = requests.get(f"{url}/api/v1/query", params={"query": query}, timeout=20)
    except requests.ConnectionError:
        return []
    return answer.json()["data"]["result"] if answer.status_code == 200 else []


def test_prometheus_knows_the_step_the_quality_and_the_ranks(
    ask: Callable[[str], list[dict[str, Any]]], eventually: Callable[..., None]
) -> None:
    eventually(lambda: ask("leitstand_train_steps_total"), what="a scraped step")

    (step,) = ask("leitstand_train_steps_total")
    assert step["value"][1] == str(LAST_STEP)
    assert step["metric"]["job"] == "leitstand"
    (run,) = ask("leitstand_run_info")
    assert run["metric"]["run_id"] == RUN_ID
    (state,) = ask("leitstand_run_state == 1")
    assert state["metric"]["state"] == "running"
    assert len(ask("leitstand_rank_step_seconds")) == 2
    quality = "leitstand_validation_quality_ratio"
    assert len(ask(f'{quality}{{picture="ki"}} > on() {quality}{{picture="lr"}}')) == 1
    (up,) = ask("up")
    assert up["value"][1] == "1"


def test_prometheus_can_bear_the_token(tmp_path: Path, served_root: Path, eventually: Callable[..., None]) -> None:
    extra = "    authorization: {credentials: secret}\n"

    with serving(served_root, API_TOKEN="secret") as server, prometheus(tmp_path, server.port, extra) as url:
        eventually(lambda: query_result(url, "leitstand_train_steps_total"), what="a scraped step")

        assert query_result(url, "up")[0]["value"][1] == "1"
