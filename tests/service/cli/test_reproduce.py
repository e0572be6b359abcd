"""`leitstand reproduce`: the commands that make a run again."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from service.cli import exit_code
from service.config.loader import LoadedConfig, load_config
from service.config.settings import RunConfig
from service.run.directory import RunDirectory
from service.run.identity import RunIdentity
from service.run.records.provenance import provenance
from service.run.records.provenance.git_state import GitState


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedConfig:
    config = RunConfig(
        n_feats=96, dataset_root=tmp_path / "my data", data_root=tmp_path / "run", api_token="hidden-one"
    )
    return LoadedConfig(config, dict.fromkeys(("N_FEATS", "DATASET_ROOT", "DATA_ROOT", "API_TOKEN"), "file"))


def start(root: Path, loaded: LoadedConfig, monkeypatch: pytest.MonkeyPatch, git: GitState | None) -> None:
    """What a trainer writes at its start."""
    monkeypatch.setattr(provenance, "git_state", lambda _: git)
    root.mkdir(exist_ok=True)
    directory = RunDirectory(root)
    sha256 = provenance.write(directory, loaded, {"world_size": 4, "parent_run": "p1", "parent_step": 500})
    directory.write_identity(replace(RunIdentity("r1"), provenance=sha256))


def test_the_command_sets_what_was_no_default_and_gives_the_same_settings(
    tmp_path: Path, loaded: LoadedConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start(tmp_path / "run", loaded, monkeypatch, GitState("c" * 40, b"diff", "d" * 64, 4))
    assert exit_code(["reproduce", str(tmp_path / "run"), "--to", str(tmp_path / "again")]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()

    assert lines[0] == f"git checkout {'c' * 40}"
    assert lines[1] == f"git apply {tmp_path / 'run' / 'provenance'}/{'d' * 64}.diff"
    assert "# API_TOKEN was set, and is a secret: set it in the environment" in lines
    assert "# it began with the weights of run p1 at step 500" in lines
    words = shlex.split(lines[-1])
    assert words[:4] == ["leitstand", "train", "--ranks", "4"]
    again = load_config(None, [word for word in words[4:] if word != "--set"], {}).config
    assert again == replace(loaded.config, api_token="", data_root=tmp_path / "again")
    assert "hidden-one" not in printed.out
    assert f"differs: DATASET_ROOT: {tmp_path / 'my data'} is no directory here." in printed.err


def test_changes_that_were_not_kept_and_code_without_a_repository_are_said(
    tmp_path: Path, loaded: LoadedConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start(tmp_path / "run", loaded, monkeypatch, GitState("c" * 40, None, "d" * 64, 2_000_000))
    exit_code(["reproduce", str(tmp_path / "run"), "--json"])
    assert "2000000 bytes" in json.loads(capsys.readouterr().out)["commands"][1]

    start(tmp_path / "run", loaded, monkeypatch, None)
    exit_code(["reproduce", str(tmp_path / "run")])
    printed = capsys.readouterr()
    assert "installed without its repository" in printed.out.splitlines()[0]
    assert "earlier starts of this run: 1 were made otherwise" in printed.err


def test_a_run_that_does_not_say_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    RunDirectory(tmp_path).write_identity(RunIdentity("r1"))
    assert exit_code(["reproduce", str(tmp_path)]) == 2
    assert "does not say from what its last start was made" in capsys.readouterr().err

    RunDirectory(tmp_path).write_identity(RunIdentity("r1", provenance="a" * 64))
    assert exit_code(["reproduce", str(tmp_path)]) == 2
    assert "cannot be read" in capsys.readouterr().err
