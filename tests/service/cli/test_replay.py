"""`leitstand replay`: what people did to a run, as a file."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from service.cli import exit_code
from service.commands import CommandState, Kind
from service.config.loader import LoadedConfig
from service.config.settings import RunConfig
from service.run.directory import RunDirectory
from service.run.identity import RunIdentity
from service.run.records.provenance import provenance
from service.store.store import Store

START = {"step": 0, "world_size": 2, "branch_id": 0, "changes": {}, "provenance": "p"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run in which a person changed a setting at step 4 and validated at step 7."""
    root = tmp_path / "run"
    root.mkdir()
    config = RunConfig(max_lr=0.02, api_token="hidden-one", data_root=root)
    about = {"world_size": 2, "training_data": "t", "validation_data": "v", "torch": "2.0"}
    sha256 = provenance.write(RunDirectory(root), LoadedConfig(config, {}), about)
    RunDirectory(root).write_identity(replace(RunIdentity("r1"), provenance=sha256))
    fill(Store(root / "leitstand.db", create=True))
    return root


def fill(store: Store) -> None:
    store.open_run("r1", {})
    store.events.add("r1", 0, "started", START)
    for kind, arguments, step in ((Kind.SET, {"LR_SCALE": 0.5}, 4), (Kind.VALIDATE, {}, 7), (Kind.PAUSE, {}, 8)):
        asked = store.commands.submit("r1", kind, arguments, actor="eva", source="api", why="too fast")
        if kind is Kind.SET:
            store.events.add("r1", step, "set", arguments)
        store.commands.begin(asked.id)
        store.commands.finish(asked.id, CommandState.DONE, step=step, result={})
    store.runs.update("r1", step=60)
    store.close()


def test_export_and_show_tell_what_was_done_by_whom_and_why(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "replay.json"
    assert exit_code(["replay", "export", str(run), "--out", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: 2 interventions from step 0 to step 60\n"
    content = json.loads(file.read_text())
    assert content["made_with"]["world_size"] == 2
    assert content["made_with"]["settings"]["MAX_LR"] == 0.02
    assert content["left_out"] == {"pause": 1}
    assert "hidden-one" not in file.read_text()
    assert "DATA_ROOT" not in content["made_with"]["settings"]

    assert exit_code(["replay", "show", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "LR_SCALE=0.5" in shown
    assert "too fast" in shown
    assert "From step 0 to step 60 of run r1." in shown
    assert exit_code(["replay", "show", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == content


def test_the_same_run_gives_the_same_bytes_on_the_output_too(
    run: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    contents = []
    for _ in range(2):
        assert exit_code(["replay", "export", str(run), "--out", "-"]) == 0
        contents.append(capfdbinary.readouterr().out)

    assert contents[0] == contents[1]
    assert json.loads(contents[0])["run_id"] == "r1"


def test_reproduce_names_the_file_for_what_was_done(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["reproduce", str(run)]) == 0

    assert f"interventions: 2 while it ran; `leitstand replay export {run}` makes the file" in capsys.readouterr().err


def test_a_shared_store_tells_the_same(run: Path, store_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    fill(Store(store_url, create=True))
    (run / "leitstand.db").unlink()

    assert exit_code(["replay", "export", str(run), "--out", "-", "--store-url", store_url]) == 0
    assert [item["step"] for item in json.loads(capsys.readouterr().out)["interventions"]] == [4, 7]


def test_what_is_missing_is_one_sentence(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert exit_code(["replay", "export", str(tmp_path / "empty")]) == 2
    assert "holds no run; name a run directory" in capsys.readouterr().err

    (run / "leitstand.db").write_bytes(b"no database" * 500)
    assert exit_code(["replay", "export", str(run)]) == 2
    assert "leitstand.db cannot be read" in capsys.readouterr().err
    (run / "leitstand.db").unlink()
    assert exit_code(["replay", "export", str(run)]) == 2
    assert "does not know run r1; if it reports to a shared store" in capsys.readouterr().err
    assert exit_code(["replay", "show", str(tmp_path / "none.json")]) == 2
    assert "none.json cannot be read" in capsys.readouterr().err
