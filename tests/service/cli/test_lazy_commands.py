"""Commands that are imported when they are asked for."""

import subprocess
import sys
from pathlib import Path

import click
import pytest

from service.cli import leitstand
from service.cli.lazy_commands import LazyCommands
from service.client.client import Client
from tests.service.harness.saved_records import save_record

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


def test_records_of_a_directory_are_listed_without_importing_the_http_client(tmp_path: Path) -> None:
    save_record(tmp_path, 500)
    program = (
        "import sys; from service.cli import exit_code; code = exit_code(sys.argv[1:]); "
        "print(sorted({'requests', 'sqlalchemy', 'service.client.client'} & sys.modules.keys())); sys.exit(code)"
    )
    for line in (["list", str(tmp_path)], ["csv", str(tmp_path), "--out", str(tmp_path / "all.csv")]):
        command = [sys.executable, "-c", program, "stats", *line]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert printed.splitlines()[-1] == "[]"


def test_the_client_is_where_scripts_look_for_it_and_nothing_else() -> None:
    import service.client

    assert service.client.Client is Client
    with pytest.raises(AttributeError, match="no attribute 'Cliend'"):
        service.client.Cliend  # noqa: B018 - looking is the test
