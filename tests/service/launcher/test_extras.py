"""What pip was not asked for is one sentence with its name, from every command that needs it."""

import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from service.cli import exit_code
from service.launcher import extras

COMMANDS = {
    "train": "train", "prepare": "train", "pack": "train", "upscale a b": "train", "evaluate": "train",
    "export a.onnx": "train", "serve": "api", "up --ranks 1": "train",
}  # fmt: skip


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without extras."""
    extra = {module for modules in extras.EXTRAS.values() for module in modules}

    def found(name: str, *arguments: Any) -> ModuleSpec | None:
        return None if name in extra else importlib.util.find_spec(name, *arguments)

    monkeypatch.setattr(extras, "find_spec", found)


@pytest.mark.parametrize("line", COMMANDS)
def test_without_its_extra_a_command_is_refused_with_what_brings_it(
    bare: None, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.execvpe", lambda *_: pytest.fail("nothing may start"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "default" / "Patches" / "GT").mkdir(parents=True)

    assert exit_code(line.split()) == 2
    said = capsys.readouterr().err
    first = extras.EXTRAS[COMMANDS[line]][0]
    assert said.startswith(f"Error: This needs packages that are not installed ({first}, ")
    assert f"`pip install 'leitstand[{COMMANDS[line]}]'` brings them." in said


def test_doctor_names_all_that_is_missing(bare: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["doctor", "--json"]) == 1
    assert "not installed: torch, numpy, PIL, av, flask, gunicorn" in capsys.readouterr().out
