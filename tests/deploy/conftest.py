"""The compose files as Compose would read them: variables put in, the override merged where it is asked for."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

VARIABLE = re.compile(r"\$\$|\$\{(?P<name>[A-Z_]+)(?::(?P<kind>[-?])(?P<other>(?:[^{}]|\$\{[A-Z_]+\})*))?\}")


class MissingVariableError(Exception):
    """Compose would refuse to start, with this message."""


def interpolate(text: str, variables: dict[str, str]) -> str:
    """Compose's `${NAME}`, `${NAME:-default}`, `${NAME:?message}` and `$$`."""

    def value(match: re.Match[str]) -> str:
        if match["name"] is None:
            return "$"
        given = variables.get(match["name"], "")
        if given or match["kind"] is None:
            return given
        if match["kind"] == "?":
            raise MissingVariableError(match["other"])
        return interpolate(match["other"], variables)

    return VARIABLE.sub(value, text)


def interpolated(node: Any, variables: dict[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: interpolated(value, variables) for key, value in node.items()}
    if isinstance(node, list):
        return [interpolated(value, variables) for value in node]
    return interpolate(node, variables) if isinstance(node, str) else node


def read_compose(path: Path, **variables: str) -> Any:
    return interpolated(yaml.safe_load(path.read_text()), variables)


@pytest.fixture(scope="session")
def compose(repository: Path) -> dict[str, Any]:
    content: dict[str, Any] = read_compose(repository / "docker-compose.yml", API_TOKEN="a-token")
    return content
