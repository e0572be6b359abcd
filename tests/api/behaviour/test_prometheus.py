"""A real Prometheus scrapes the real server and answers questions about the run."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.harness.example_run import LAST_STEP, RUN_ID
from tests.api.harness.prometheus_process import prometheus, query_result
from tests.api.harness.serving import Server, Serving

pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason="Prometheus is not installed")


@pytest.fixture
def ask(tmp_path: Path, server: Server) -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    """Ask a Prometheus that scrapes the server: the result of a query."""
    with prometheus(tmp_path, server.port) as url:
        yield lambda query: query_result(url, query)


def test_prometheus_knows_the_step_the_quality_and_the_ranks(
    ask: Callable[[str], list[dict[str, Any]]], eventually: Callable[..., None]
) -> None:
    eventually(lambda: ask("leitstand_train_step"), what="a scraped step")

    (step,) = ask("leitstand_train_step")
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


def test_prometheus_can_bear_the_token(
    serving: Serving, tmp_path: Path, served_root: Path, eventually: Callable[..., None]
) -> None:
    extra = "    authorization: {credentials: secret}\n"

    with serving(served_root, API_TOKEN="secret") as server, prometheus(tmp_path, server.port, extra) as url:
        eventually(lambda: query_result(url, "leitstand_train_step"), what="a scraped step")

        assert query_result(url, "up")[0]["value"][1] == "1"
