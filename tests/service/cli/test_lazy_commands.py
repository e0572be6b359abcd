"""Commands that are imported when they are asked for."""

import sys

import click
import pytest

from service.cli import leitstand
from service.cli.lazy_commands import LazyCommands

PLACE = "tests.service.harness.lazily_loaded"


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> LazyCommands:
    monkeypatch.delitem(sys.modules, PLACE, raising=False)
    return LazyCommands({"greet": f"{PLACE}:greet", "part": f"{PLACE}:part"})


def test_names_are_known_without_an_import(commands: LazyCommands) -> None:
    assert list(commands) == ["greet", "part"]
    assert len(commands) == 2
    assert "greet" in commands
    assert "leave" not in commands
    assert commands.get("leave") is None
    assert PLACE not in sys.modules


def test_a_command_is_imported_when_it_is_asked_for(commands: LazyCommands) -> None:
    command = commands["greet"]

    assert command is sys.modules[PLACE].greet
    assert commands["greet"] is command


def test_a_command_can_be_added_replaced_and_taken_away(commands: LazyCommands) -> None:
    other = click.Command("other")
    commands["greet"] = commands["other"] = other
    del commands["part"]

    assert dict(commands) == {"greet": other, "other": other}
    assert PLACE not in sys.modules


@pytest.mark.parametrize("name", list(leitstand.commands))
def test_every_command_of_the_command_line_is_where_its_table_says(name: str) -> None:
    assert leitstand.commands[name].name == name
