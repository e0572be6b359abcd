"""docs/deployment.md: every file, command, profile, exit code and version that it names is the one of the code."""

import re
import tomllib
from pathlib import Path
from typing import Any

import apprise
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from api.server.gunicorn_parts import require_private_parts
from ddp.recording.trackers.kubeflow import INTERVAL_SECONDS
from service import __version__
from service.cli import leitstand
from service.launcher.processes import Timing
from tests.deploy.kubernetes.test_manifests import FOLDERS, KUBERNETES, SECRET
from tests.docs.harness.source import section, table


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs/deployment.md").read_text()


@pytest.fixture(scope="module")
def project(repository: Path) -> dict[str, Any]:
    return tomllib.loads((repository / "pyproject.toml").read_text())


def locked(repository: Path, name: str) -> str:
    (version,) = re.findall(rf"^{name}==(\S+)", (repository / "requirements.lock").read_text(), re.MULTILINE)
    return str(version)


def test_files_and_folders_that_are_named_exist(page: str, repository: Path) -> None:
    named = set(re.findall(r"(?<![\w/])deploy/[\w./@-]*\w|requirements[\w.]*\.lock|docker-compose[\w.]*\.yml", page))

    assert len(named) > 8
    for path in named:
        assert (repository / path).exists(), path


def test_commands_and_units_that_are_named_exist(page: str, repository: Path) -> None:
    units = {path.stem.removesuffix("@") for path in (repository / "deploy/systemd").glob("*.service")}

    assert set(re.findall(r"\bleitstand-(?:api|train)\b", section(page, "## As a systemd service"))) == units
    assert set(re.findall(r"(?:`|exec |api |bin/)leitstand ([a-z]+)", page)) <= leitstand.commands.keys()


def test_every_exit_code_of_the_table_is_treated_so_by_the_unit(page: str, repository: Path) -> None:
    unit = (repository / "deploy/systemd/leitstand-train@.service").read_text()
    _, _, text = page.partition("| the training ended with |")
    good, refused, others = (re.findall(r"\d+", line.split("|")[1]) for line in text.splitlines()[3:6])

    assert f"SuccessExitStatus={' '.join(sorted(good))}\n" in unit
    assert refused == ["2"]
    assert "RestartPreventExitStatus=2\n" in unit
    assert {"74", "137"} <= set(others)
    for line in ("RestartSec=30s", "StartLimitBurst=10", "StartLimitIntervalSec=1h"):
        assert f"{line}\n" in unit
    assert "after 30 s, ten times an hour" in page


def test_profiles_are_those_of_the_compose_file(page: str, repository: Path) -> None:
    services = yaml.safe_load((repository / "docker-compose.yml").read_text())["services"]
    profiles = {profile for service in services.values() for profile in service.get("profiles", ())}

    assert {row[0].strip("`") for row in table(section(page, "## With Docker Compose"))} == profiles


def test_folders_and_versions_of_kubernetes_are_those_of_the_manifests(page: str, repository: Path) -> None:
    text = section(page, "## On Kubernetes")

    assert {row[0].strip("`") for row in table(text)} == set(FOLDERS)
    assert f"Kubernetes {KUBERNETES}" in text
    assert set(re.findall(r"--from-literal=([A-Z_]+)=", text)) == SECRET
    trainer = locked(repository, "kubeflow_trainer_api")
    assert f"Kubeflow Trainer {trainer.rpartition('.')[0]}" in text
    assert f"within {INTERVAL_SECONDS:.0f} s of each log point" in " ".join(text.split())


def test_supported_versions_are_those_of_the_lock_and_of_the_project(
    page: str, repository: Path, project: dict[str, Any]
) -> None:
    rows = {row[0]: row[1:] for row in table(section(page, "## Versions"))}
    torch = next(text for text in project["project"]["optional-dependencies"]["train"] if text.startswith("torch"))

    assert project["project"]["requires-python"] == f">={rows['Python'][0]}"
    assert rows["PyTorch"][0].startswith(locked(repository, "torch").rpartition(".")[0])
    assert torch == f"torch>={re.findall(r'from ([0-9.]+) on', rows['PyTorch'][1])[0]}"
    assert f"torch=={locked(repository, 'torch')}" in page
    assert f"leitstand-{__version__}-py3-none-any.whl" in page
    require_private_parts()
    assert f"gunicorn is bound to major version {locked(repository, 'gunicorn').partition('.')[0]}" in page


def test_the_ends_that_were_tried_are_those_that_the_project_allows(
    page: str, repository: Path, project: dict[str, Any]
) -> None:
    tried = table(section(page, "### The ends that were tried"))
    pythons, torches, decoders = ([Version(row[place].partition(",")[0]) for row in tried] for place in (1, 2, 4))
    asked = project["project"]
    train = {item.name: item.specifier for item in map(Requirement, asked["optional-dependencies"]["train"])}

    assert len(tried) >= 2
    assert asked["requires-python"] == f">={min(pythons).major}.{min(pythons).minor}"
    assert str(train["torch"]) == f">={min(torches).major}.{min(torches).minor}"
    assert Version(locked(repository, "torch")) in torches
    assert all(version in train["av"] for version in decoders)


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
def test_addresses_of_notifications_are_known_to_apprise(repository: Path) -> None:
    text = section((repository / "docs/operations.md").read_text(), "### E-mail, ntfy, Slack, Discord, Telegram")
    addresses = re.findall(r"`([a-z]+://[^`]+)`", text)
    real = {
        "TOKEN_A/TOKEN_B/TOKEN_C": "T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
        "BOT_TOKEN/CHAT_ID": "123456789:abcdefg_hijklmnop/12315544",
        "WEBHOOK_ID/WEBHOOK_TOKEN": "4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js",
    }

    assert len(addresses) >= 6
    for address in addresses:
        for shown, value in real.items():
            address = address.replace(shown, value)
        assert apprise.Apprise.instantiate(address) is not None, address


def test_how_long_the_last_alert_is_waited_for_is_that_of_the_launcher(repository: Path) -> None:
    text = section((repository / "docs/operations.md").read_text(), "### Webhooks")

    assert f"{Timing().delivery_seconds:.0f} s at most" in text
