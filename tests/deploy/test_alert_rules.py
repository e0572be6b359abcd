"""The alert rules, judged and played by Prometheus' own tool: each fires when it should, and never else."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.metrics.catalog import METRICS
from service.cli import leitstand

SEVERITIES = {"info", "warning", "critical"}
METRIC = re.compile(r"\bleitstand_[a-z0-9_]+")
WANTED = {"Stalled", "Lost", "NonFinite", "Plateau", "NoRecord", "SlowRank", "Disk", "Store", "Records", "ApiDown"}

promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


@pytest.fixture(scope="module")
def folder(repository: Path) -> Path:
    return repository / "deploy" / "prometheus"


@pytest.fixture(scope="module")
def rules(folder: Path) -> list[dict[str, Any]]:
    groups = yaml.safe_load((folder / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def plays(folder: Path) -> list[Path]:
    return sorted(folder.glob("alerts.*test.yml"))


def run_promtool(*arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True, check=False)


@promtool
def test_promtool_accepts_the_rules(folder: Path) -> None:
    result = run_promtool("check", "rules", "--lint=all", "--lint-fatal", "alerts.yml", folder=folder)

    assert result.returncode == 0, result.stdout + result.stderr


@promtool
def test_every_rule_fires_when_it_should_and_not_before_or_after(folder: Path) -> None:
    result = run_promtool("test", "rules", *map(str, plays(folder)), folder=folder)

    assert result.returncode == 0, result.stdout + result.stderr


@promtool
def test_the_play_notices_a_rule_that_is_wrong(folder: Path, tmp_path: Path) -> None:
    text = (folder / "alerts.yml").read_text()
    wrong = text.replace('state="lost"} == 1', 'state="lost"} == 2')
    assert wrong != text
    (tmp_path / "alerts.yml").write_text(wrong)
    shutil.copy(folder / "alerts.test.yml", tmp_path)

    assert "LeitstandRunLost" in run_promtool("test", "rules", "alerts.test.yml", folder=tmp_path).stderr


def test_every_rule_is_played_firing_and_quiet(folder: Path, rules: list[dict[str, Any]]) -> None:
    tests = [test for play in plays(folder) for test in yaml.safe_load(play.read_text())["tests"]]
    checks = [check for test in tests for check in test["promql_expr_test"]]
    for rule in rules:
        about = [check for check in checks if re.search(rf"\b{rule['alert']}\b", check["expr"])]
        has_fired = [bool(check.get("exp_samples")) for check in about]
        assert has_fired[0] is False or rule["alert"] == "LeitstandApiDown", rule["alert"]
        assert {True, False} <= set(has_fired), rule["alert"]


def test_every_rule_says_how_bad_it_is_and_what_to_do(rules: list[dict[str, Any]]) -> None:
    names = [rule["alert"] for rule in rules]

    assert len(names) == len(set(names))
    assert all(name.startswith("Leitstand") for name in names)
    assert [part for part in WANTED if not any(part in name for name in names)] == []
    for rule in rules:
        summary, description = rule["annotations"]["summary"], rule["annotations"]["description"]
        assert rule["labels"]["severity"] in SEVERITIES, rule["alert"]
        assert summary[0].isupper(), rule["alert"]
        assert not summary.endswith("."), rule["alert"]
        assert description.endswith("."), rule["alert"]
        assert len(description) > len(summary), rule["alert"]


def test_rules_ask_only_for_metrics_that_the_api_exports(rules: list[dict[str, Any]]) -> None:
    asked = set(METRIC.findall(" ".join(rule["expr"] for rule in rules)))

    assert asked <= {metric.name for metric in METRICS}


def test_descriptions_name_only_metrics_and_commands_that_there_are(rules: list[dict[str, Any]]) -> None:
    text = " ".join(rule["annotations"]["description"] for rule in rules)
    commands = set(re.findall(r"`leitstand ([a-z]+)", text))

    assert set(METRIC.findall(text)) <= {metric.name for metric in METRICS}
    assert commands
    assert commands <= leitstand.commands.keys()


def test_prometheus_loads_the_rules_here_and_in_the_compose_file(folder: Path, compose: dict[str, Any]) -> None:
    names = yaml.safe_load((folder / "prometheus.yml").read_text())["rule_files"]
    mounted = {item["target"]: item["source"] for item in compose["services"]["prometheus"]["configs"]}

    assert names == ["alerts.yml"]
    assert mounted["/etc/prometheus/alerts.yml"] == "alerts"
    assert compose["configs"]["alerts"]["file"] == "./deploy/prometheus/alerts.yml"
