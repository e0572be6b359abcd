"""Which run directories there are, and `leitstand serve DIR…`."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from service.cli import exit_code
from service.config.loader import load_config
from service.config.settings import RunConfig
from service.run.discovery import RunFolders, is_run_directory, overrides_for

STARTED = dict[str, Any]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> STARTED:
    """What this process would have become."""
    seen: STARTED = {}
    monkeypatch.setattr(os, "execvpe", lambda _file, _arguments, environment: seen.update(environment=environment))
    return seen


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def make_run(folder: Path, name: str = "run.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("{}")
    return folder


def found(*roots: Path) -> list[Path]:
    return RunFolders.of(RunConfig(data_root=roots[0], run_roots=":".join(map(str, roots[1:])))).all()


@pytest.mark.parametrize("name", ["run.json", "leitstand.db"])
def test_a_folder_with_a_run_or_its_store_is_a_run_directory(tmp_path: Path, name: str) -> None:
    assert not is_run_directory(tmp_path)
    assert is_run_directory(make_run(tmp_path / "run", name))


def test_runs_are_the_roots_those_one_level_below_and_their_archives(tmp_path: Path) -> None:
    home, parent = make_run(tmp_path / "home"), tmp_path / "parent"
    archived = make_run(home / "archive" / "aaaa")
    (home / "archive" / "aaaa-after-500").mkdir()
    below = [make_run(parent / "b"), make_run(parent / "b" / "archive" / "bbbb"), make_run(parent / "c")]
    make_run(parent / "too" / "deep")
    (parent / "notes.txt").touch()

    assert found(home, parent, tmp_path / "absent") == [home, archived, *below]


def test_archived_runs_are_found_while_the_new_one_is_not_there_yet(tmp_path: Path) -> None:
    archived = make_run(tmp_path / "archive" / "aaaa")

    assert found(tmp_path) == [archived]


def test_a_directory_counts_once_by_whatever_names_it_is_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [make_run(tmp_path / "runs" / name) for name in ("one", "two")]
    elsewhere = make_run(tmp_path / "elsewhere" / "three")
    (tmp_path / "runs" / "a-link").symlink_to(elsewhere)
    (tmp_path / "runs" / "latest").symlink_to("two")
    (tmp_path / "runs" / "broken").symlink_to("nowhere")

    assert found(Path("runs/two"), Path("runs"), tmp_path / "runs") == [runs[1], runs[0], elsewhere]


def test_serve_takes_run_directories_and_folders_of_some(
    tmp_path: Path, port: int, started: STARTED, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUN_ROOTS", str(make_run(tmp_path / "not named")))
    one = make_run(tmp_path / "one")
    for name in ("two", "three"):
        make_run(tmp_path / "parent" / name)
    elsewhere = ["--set", f"API_PORT={port}", "--set", f"DATA_ROOT={tmp_path / 'elsewhere'}"]

    assert exit_code(["serve", *elsewhere, str(one), str(tmp_path / "parent")]) == 0

    served = load_config(None, (), started["environment"]).config
    assert RunFolders.of(served).all() == [one, *(tmp_path / "parent" / name for name in ("three", "two"))]
    assert served.data_root == one
    assert capsys.readouterr().out.startswith("Serving 3 runs.\nDashboard: ")


def test_one_directory_replaces_the_roots_of_a_settings_file(tmp_path: Path, port: int, started: STARTED) -> None:
    file, one = tmp_path / "run.toml", make_run(tmp_path / "2026-11-25T07:30:00")
    file.write_text(f"RUN_ROOTS = '{make_run(tmp_path / 'not named')}'\nAPI_PORT = {port}\n")

    assert exit_code(["serve", "--config", str(file), str(one)]) == 0

    served = load_config(file, (), started["environment"]).config
    assert RunFolders.of(served).all() == [one]


def test_a_folder_without_runs_is_served_because_some_may_come(
    tmp_path: Path, port: int, started: STARTED, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(["serve", "--set", f"API_PORT={port}", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("No run is there yet.\n")


@pytest.mark.parametrize(
    ("name", "words"),
    [("absent", "does not exist; name run directories"), ("file", "is no folder;"), ("a:b", "can only be named first")],
)
def test_a_directory_that_cannot_be_served_is_refused(
    tmp_path: Path, started: STARTED, capsys: pytest.CaptureFixture[str], name: str, words: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "a:b").mkdir()

    assert exit_code(["serve", str(make_run(tmp_path / "one")), str(tmp_path / name)]) == 2

    assert words in capsys.readouterr().err
    assert started == {}


def test_a_directory_that_may_not_be_read_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root, who may run the tests, may read everything

    assert exit_code(["serve", str(tmp_path)]) == 2
    assert "cannot be read by this user" in capsys.readouterr().err


def test_a_relative_directory_is_served_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "one")

    assert overrides_for([Path("one")]) == (f"DATA_ROOT={tmp_path / 'one'}", "RUN_ROOTS=:")
