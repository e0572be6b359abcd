"""Settings that a class may keep for good: none of them can change while a run goes on."""

import ast
import inspect
from dataclasses import fields
from pathlib import Path

import pytest

from service.config.fixed_settings import FixedSettings
from service.config.live_settings import CHANGEABLE, PINNABLE
from service.config.settings import RunConfig

KEPT_BY = ("checkpoint", "control", "metrics", "recording", "step", "training", "validation", "watchdog")


def test_no_fixed_setting_can_be_changed_by_a_command() -> None:
    fixed = {name for name, _ in inspect.getmembers(FixedSettings, lambda value: isinstance(value, property))}

    assert fixed <= {item.name for item in fields(RunConfig)}
    assert not {name.upper() for name in fixed} & {*CHANGEABLE, *PINNABLE}


@pytest.mark.parametrize("folder", KEPT_BY)
def test_no_class_of_a_training_keeps_the_settings_of_the_start_as_if_they_were_in_force(
    folder: str, repository: Path
) -> None:
    """A `RunConfig` in a constructor is a start's; what is in force is asked of `RunStatus` every time."""
    takers = [
        f"{path.name}:{node.name}"
        for path in (repository / "ddp" / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        for method in node.body
        if isinstance(method, ast.FunctionDef) and method.name == "__init__"
        if any(ast.unparse(argument.annotation or ast.Constant("")) == "RunConfig" for argument in method.args.args)
    ]

    assert takers == []
