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


Ask = Callable[[str], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def ask(server: Server, serving: Serving, served_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Ask a Prometheus that scrapes a server, and one that wants a token: the result of a query.

    It takes five seconds to find its targets.
    """
    with serving(served_root, API_TOKEN="secret") as guarded:
        job = (
            "  - job_name: guarded\n"
            "    authorization: {credentials: secret}\n"
            f"    static_configs: [{{targets: ['127.0.0.1:{guarded.port}']}}]\n"
        )
        with prometheus(tmp_path_factory.mktemp("prometheus"), server.port, more_jobs=job) as url:
            yield lambda query: query_result(url, query)


def test_prometheus_knows_the_step_the_quality_and_the_ranks(ask: Ask, eventually: Callable[..., None]) -> None:
    eventually(lambda: ask('leitstand_train_step{job="leitstand"}'), what="a scraped step")

    (step,) = ask('leitstand_train_step{job="leitstand"}')
    assert step["value"][1] == str(LAST_STEP)
    (run,) = ask('leitstand_run_info{job="leitstand"}')
    assert run["metric"]["run_id"] == RUN_ID
    (state,) = ask('leitstand_run_state{job="leitstand"} == 1')
    assert state["metric"]["state"] == "running"
    assert len(ask('leitstand_rank_step_seconds{job="leitstand"}')) == 2
    quality = 'leitstand_validation_quality_ratio{job="leitstand"'
    assert len(ask(f'{quality},picture="ki"}} > on() {quality},picture="lr"}}')) == 1
    (up,) = ask('up{job="leitstand"}')
    assert up["value"][1] == "1"


def test_prometheus_can_bear_the_token(ask: Ask, eventually: Callable[..., None]) -> None:
    eventually(lambda: ask('leitstand_train_step{job="guarded"}'), what="a scraped step")

    assert ask('up{job="guarded"}')[0]["value"][1] == "1"
