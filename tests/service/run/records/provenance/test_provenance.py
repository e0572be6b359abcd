"""From what a start was made: written once, without secrets, and compared with this machine."""

import json
import subprocess
from pathlib import Path

import pytest

from service.config.loader import LoadedConfig
from service.config.settings import RunConfig
from service.run.directory import RunDirectory
from service.run.records.provenance import git_state as git_module
from service.run.records.provenance import provenance
from service.run.records.provenance.git_state import git_state

LOADED = LoadedConfig(RunConfig(n_feats=96, api_token="hidden-one"), {"N_FEATS": "file", "API_TOKEN": "environment"})


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with one commit."""
    root = tmp_path / "tree"
    (root / "service").mkdir(parents=True)
    (root / "service" / "__init__.py").write_text("one\n")
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"]):
        subprocess.run(["git", "-C", str(root), *command], check=True)
    return root


def test_a_provenance_holds_settings_origins_packages_and_what_the_trainer_tells_but_no_secret(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    sha256 = provenance.write(directory, LOADED, {"world_size": 4, "training_data": "abc"})
    found = provenance.read(directory, sha256)

    assert (found["settings"]["N_FEATS"], found["origins"]["N_FEATS"]) == (96, "file")
    assert (found["world_size"], found["training_data"]) == (4, "abc")
    assert found["packages"]["SQLAlchemy"]
    assert "hidden-one" not in json.dumps(found)


def test_equal_starts_have_one_file_and_a_damaged_one_is_told(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    sha256 = provenance.write(directory, LOADED, {})
    assert provenance.write(directory, LOADED, {}) == sha256
    assert provenance.write(directory, LOADED, {"world_size": 2}) != sha256

    path = directory.provenance / f"{sha256}.json"
    path.write_text(path.read_text().replace("96", "97"))
    with pytest.raises(ValueError, match="its content is not what its name says"):
        provenance.read(directory, sha256)


def test_what_is_not_committed_is_kept_beside_it(tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "SOURCE_TREE", tree)
    (tree / "service" / "__init__.py").write_text("two\n")
    directory = RunDirectory(tmp_path)
    code = provenance.read(directory, provenance.write(directory, LOADED, {}))["code"]

    assert code["is_diff_kept"]
    assert len(code["commit"]) == 40
    diff = directory.provenance / f"{code['diff_sha256']}.diff"
    assert b"-one\n+two\n" in diff.read_bytes()
    subprocess.run(["git", "-C", str(tree), "checkout", "-q", "."], check=True)
    subprocess.run(["git", "-C", str(tree), "apply", str(diff)], check=True)
    assert (tree / "service" / "__init__.py").read_text() == "two\n"


def test_a_tree_without_changes_has_no_diff_and_too_large_ones_are_not_kept(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = git_state(tree)
    assert clean is not None
    assert (clean.diff, clean.diff_sha256) == (None, None)

    monkeypatch.setattr(git_module, "MAX_DIFF_BYTES", 10)
    (tree / "service" / "__init__.py").write_text("two\n")
    large = git_state(tree)
    assert large is not None
    assert large.diff is None
    assert large.diff_bytes > 10
    assert large.diff_sha256


def test_no_repository_and_one_of_another_project_have_no_state(tmp_path: Path, tree: Path) -> None:
    assert git_state(tmp_path) is None
    (tree / "venv" / "service").mkdir(parents=True)
    (tree / "venv" / "service" / "__init__.py").write_text("")

    assert git_state(tree / "venv") is None


def test_differences_name_packages_code_and_data_that_are_missing_here(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    loaded = LoadedConfig(RunConfig(dataset_root=tmp_path / "gone"), {"DATASET_ROOT": "file"})
    found = dict(provenance.read(directory, provenance.write(directory, loaded, {})))
    assert provenance.differences(found) == [f"DATASET_ROOT: {tmp_path / 'gone'} is no directory here."]

    found["packages"] = {**found["packages"], "click": "0.1", "gone-one": "2"}
    found["python"] = "3.9.1"
    sentences = provenance.differences(found)
    assert any(sentence.startswith("Python: 3.9.1 then, 3.") for sentence in sentences)
    assert any(sentence.startswith("package click: 0.1 then, ") for sentence in sentences)
    assert "package gone-one: 2 then, none here." in sentences
