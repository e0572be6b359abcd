"""A real Prometheus on loopback, for the time of a `with`, and what it answers."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from tests.api.harness.serving import free_port


@contextmanager
def prometheus(
    folder: Path, target_port: int, *, more_jobs: str = "", interval: str = "1s", rules: Path | None = None
) -> Iterator[str]:
    """Prometheus, its storage in `folder`, scraping a target and judging `rules`; yields its URL."""
    port = free_port()
    (folder / "prometheus.yml").write_text(
        f"global: {{scrape_interval: {interval}, scrape_timeout: {interval}, evaluation_interval: {interval}}}\n"
        f"rule_files: [{'' if rules is None else rules}]\n"
        "scrape_configs:\n"
        "  - job_name: leitstand\n"
        f"    static_configs: [{{targets: ['127.0.0.1:{target_port}']}}]\n"
        f"{more_jobs}"
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
    result: list[dict[str, Any]] = _data(url, "query", query=query).get("result", [])
    return result


def firing_alerts(url: str) -> dict[str, dict[str, Any]]:
    """The alerts that fire now, by name."""
    alerts = _data(url, "alerts").get("alerts", [])
    return {alert["labels"]["alertname"]: alert for alert in alerts if alert["state"] == "firing"}


def _data(url: str, route: str, **params: str) -> dict[str, Any]:
    try:
        answer = requests.get(f"{url}/api/v1/{route}", params=params, timeout=20)
    except requests.ConnectionError:
        return {}
    data: dict[str, Any] = answer.json()["data"] if answer.status_code == 200 else {}
    return data
