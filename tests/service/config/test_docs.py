"""The documentation names every setting and every command, as they are."""

import re
from dataclasses import fields
from pathlib import Path

import click
import pytest

from service.cli import leitstand
from service.config.loader import NOT_SETTINGS, convert
from service.config.settings import RENAMED, WITHOUT_EFFECT, RunConfig, rule_of

ROOT = Path(__file__).parents[3]
SETTINGS = [item.name for item in fields(RunConfig)]
COMMANDS = [
    f"{name} {inner}" if inner else name
    for name, command in leitstand.commands.items()
    for inner in (command.commands if isinstance(command, click.Group) else [""])
]


@pytest.fixture(scope="module")
def configuration() -> str:
    return (ROOT / "docs" / "configuration.md").read_text()


def row_of(name: str, text: str) -> list[str]:
    """The cells of a setting's table row: name, default, value, meaning."""
    rows = [line for line in text.splitlines() if re.match(rf"\| *`{name}` *\|", line)]
    assert len(rows) == 1, f"docs/configuration.md has {len(rows)} rows for {name}"
    return [cell.strip() for cell in rows[0].strip("|").split(" | ")]


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_has_a_row_with_its_default_and_range(name: str, configuration: str) -> None:
    _, default, allowed, meaning = row_of(name.upper(), configuration)
    rule = rule_of(name)

    assert convert(name.upper(), default.strip("`").replace("(empty)", "")) == getattr(RunConfig(), name)
    assert meaning == rule.meaning
    if rule.choices:
        assert re.findall(r"`([^`]+)`", allowed) == list(rule.choices)
    else:
        limits = [float(limit) for limit in (rule.minimum, rule.maximum) if limit is not None]
        assert [float(number) for number in re.findall(r"-?\d[\d.]*(?:e-?\d+)?", allowed)] == limits


@pytest.mark.parametrize("name", [*RENAMED, *WITHOUT_EFFECT])
def test_every_name_of_the_original_is_explained(name: str, configuration: str) -> None:
    assert f"`{name}`" in configuration


def test_no_row_describes_a_setting_that_is_gone(configuration: str) -> None:
    described = set(re.findall(r"^\| *`([A-Z][A-Z0-9_]+)` *\|", configuration, re.MULTILINE))

    assert described - {*RENAMED, *WITHOUT_EFFECT, *NOT_SETTINGS} <= {name.upper() for name in SETTINGS}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_described(command: str) -> None:
    text = "".join((ROOT / page).read_text() for page in ("README.md", "docs/configuration.md"))

    assert f"leitstand {command}" in text


@pytest.mark.parametrize("option", ["--ranks", "--fresh", "--resume", "--leave", "--wait", "--timeout", "--json"])
def test_every_option_is_described(option: str) -> None:
    text = "".join((ROOT / page).read_text() for page in ("README.md", "docs/configuration.md"))

    assert option in text


def test_the_targets_of_the_makefile_that_the_readme_names_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(
        re.findall(r"\bmake ([a-z]+)\b(?=[`\n ]*(?:[A-Z]+=|`|$))", (ROOT / "README.md").read_text(), re.MULTILINE)
    )

    assert {"setup", "run", "test"} <= targets
    assert named <= targets
