"""Prometheus' configuration and Grafana's dashboard, judged by Prometheus' own tools."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.metrics.catalog import METRICS
from service.commands import CommandState, Kind
from service.run.ledger.time_spent import TimeUse
from service.run.state import RunState

LABELS = {
    "version": ["0.1.0"],
    "run_id": ["a1"],
    "state": [state.value for state in RunState],
    "term": ["l1", "ms", "gradient", "perceptual"],
    "rank": ["0", "1"],
    "picture": ["ki", "lr"],
    "kind": [kind.value for kind in Kind],
    "mode": ["Warmup", "Stable"],
    "phase": ["warmup", "cosine"],
    "stage": ["data", "forward"],
    "use": [use.value for use in TimeUse],
    "name": ["stalled"],
    "method": ["GET"],
    "route": ["/state"],
    "status": ["2xx", "4xx"],
    "le": ["0.5", "1.0", "+Inf"],
}
OUTCOMES = [state.value for state in CommandState if state.is_final]
VARIABLES = {"$job": "leitstand", "$instance": "api:5050", "$__rate_interval": "1m"}
METRIC = re.compile(r"\bleitstand_[a-z0-9_]+")

promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


def run_promtool(*arguments: str, folder: Path) -> None:
    result = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture(scope="session")
def dashboard(repository: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((repository / "deploy/grafana/dashboards/leitstand.json").read_text())
    return content


def raw_expressions(dashboard: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(where, PromQL) of every panel and annotation."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for annotation in dashboard["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


def expressions(dashboard: dict[str, Any]) -> list[tuple[str, str]]:
    """As `raw_expressions`, with Grafana's variables put in."""
    found = []
    for where, text in raw_expressions(dashboard):
        for variable, value in VARIABLES.items():
            text = text.replace(variable, value)
        found.append((where, text))
    return found


def label_sets(labels: tuple[str, ...], name: str) -> Iterator[dict[str, str]]:
    """Every combination of the labels' values."""
    if not labels:
        yield {}
        return
    first, *others = labels
    values = OUTCOMES if name == "leitstand_commands_total" and first == "state" else LABELS[first]
    for value in values:
        for rest in label_sets(tuple(others), name):
            yield {first: value, **rest}


def input_series() -> Iterator[dict[str, str]]:
    """Everything that a control room exports, growing, every 5 seconds for half an hour."""
    for metric in METRICS:
        name, labels = (f"{metric.name}_bucket", ("le",)) if metric.is_histogram else (metric.name, ())
        for chosen in label_sets((*metric.labels, *labels), metric.name):
            every = {"job": "leitstand", "instance": "api:5050", **chosen}
            text = ",".join(f'{key}="{value}"' for key, value in every.items())
            yield {"series": f"{name}{{{text}}}", "values": "1+1x360"}


@promtool
def test_prometheus_accepts_its_configuration(repository: Path, tmp_path: Path) -> None:
    text = (repository / "deploy/prometheus/prometheus.yml").read_text()
    token = tmp_path / "api_token"
    token.write_text("a-token")
    assert "/run/secrets/api_token" in text
    (tmp_path / "prometheus.yml").write_text(text.replace("/run/secrets/api_token", str(token)))
    for name in yaml.safe_load(text)["rule_files"]:
        shutil.copy(repository / "deploy/prometheus" / name, tmp_path)

    run_promtool("check", "config", "prometheus.yml", folder=tmp_path)


def test_dashboard_asks_only_for_metrics_that_the_api_exports(dashboard: dict[str, Any]) -> None:
    exported = {f"{metric.name}_bucket" if metric.is_histogram else metric.name for metric in METRICS}
    variables = " ".join(str(variable.get("query")) for variable in dashboard["templating"]["list"])
    asked = set(METRIC.findall(" ".join(text for _, text in raw_expressions(dashboard)) + variables))

    assert asked <= exported


@promtool
def test_every_expression_is_valid_promql(dashboard: dict[str, Any], tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": text} for number, (_, text) in enumerate(expressions(dashboard))]
    content = {"groups": [{"name": "dashboard", "rules": rules}]}
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(content))

    run_promtool("check", "rules", "rules.yml", folder=tmp_path)


@promtool
def test_every_expression_finds_values_of_a_running_training(dashboard: dict[str, Any], tmp_path: Path) -> None:
    """A misspelt label or one that no longer exists would make a panel empty without any error."""
    tests = [
        {"expr": f"count({text}) > bool 0", "eval_time": "20m", "exp_samples": [{"labels": "{}", "value": 1}]}
        for _, text in expressions(dashboard)
    ]
    unit = {"interval": "5s", "input_series": list(input_series()), "promql_expr_test": tests}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump({"evaluation_interval": "5s", "tests": [unit]}))

    run_promtool("test", "rules", "tests.yml", folder=tmp_path)


def test_every_expression_is_about_the_chosen_training(dashboard: dict[str, Any]) -> None:
    for where, text in raw_expressions(dashboard):
        for selector in re.findall(r"leitstand_[a-z0-9_]+(\{[^}]*\})?", text):
            assert selector.startswith('{job="$job",instance="$instance"'), where


def test_state_strip_names_every_state_by_its_number(dashboard: dict[str, Any]) -> None:
    (panel,) = [panel for panel in dashboard["panels"] if panel["title"] == "State"]
    numbers = {state: number for number, state in re.findall(r'(\d+) \* sum\([^)]*state="([a-z]+)"', str(panel))}
    (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]

    assert {number: options["text"] for number, options in mapping["options"].items()} == {
        number: state for state, number in numbers.items()
    }
    assert numbers.keys() == {state.value for state in RunState}


def test_panels_lie_beside_each_other_and_have_ids_of_their_own(dashboard: dict[str, Any]) -> None:
    cells = [
        (x, y)
        for panel in dashboard["panels"]
        for position in [panel["gridPos"]]
        for x in range(position["x"], position["x"] + position["w"])
        for y in range(position["y"], position["y"] + position["h"])
    ]
    ids = [panel["id"] for panel in dashboard["panels"]]

    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23
    assert len(ids) == len(set(ids))


def test_provisioned_data_source_is_the_prometheus_of_the_compose_file(
    repository: Path, compose: dict[str, Any]
) -> None:
    folder = repository / "deploy/grafana/provisioning"
    (source,) = yaml.safe_load((folder / "datasources/prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((folder / "dashboards/leitstand.yml").read_text())["providers"]
    grafana = compose["services"]["grafana"]

    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in compose["services"]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in grafana["volumes"]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (repository / "deploy/grafana/dashboards" / home.name).is_file()
    assert str(home.parent) == provider["options"]["path"]
