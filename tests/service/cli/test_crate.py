"""`leitstand export --ro-crate`: a run described for other programs.

The rules that are checked are those of RO-Crate and of Process Run Crate 0.5 which a crate must keep.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from service.cli import exit_code
from service.commands import CommandState, Kind
from service.config.loader import LoadedConfig
from service.config.settings import RunConfig
from service.run.directory import RunDirectory
from service.run.identity import RunIdentity
from service.run.records.keeping.packing import pack
from service.run.records.provenance import provenance
from service.run.records.provenance.crate import actions, parts
from service.store.store import Store
from tests.service.harness.checkpoints import save_checkpoint
from tests.service.harness.saved_records import save_record

ACTIONS = ("CreateAction", "ActivateAction", "UpdateAction")
STATUSES = {f"http://schema.org/{name}ActionStatus" for name in ("Completed", "Failed", "Active")}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Three records, two checkpoints, two starts; one command of each kind of outcome."""
    root = tmp_path / "my run"
    for step in (500, 1000, 1500):
        save_record(root, step, quality_ki_value=0.9 if step == 500 else 0.5)
    for step in (500, 1500):
        save_checkpoint(RunDirectory(root), step)
    (root / "net 1.safetensors").write_bytes(b"weights")
    (root / "previews" / "step_500").mkdir(parents=True)
    config = RunConfig(data_root=root, api_token="hidden-one")
    about = {"world_size": 2, "training_data": "t1", "validation_data": "v1"}
    sha256 = provenance.write(RunDirectory(root), LoadedConfig(config, {}), about)
    RunDirectory(root).write_identity(replace(RunIdentity("r1"), provenance=sha256))
    store = Store(root / "leitstand.db", create=True)
    store.open_run("r1", {})
    for step in (0, 800):
        store.events.add("r1", step, "started", {"step": step, "world_size": 2, "provenance": sha256})
    for kind, state, result in (
        (Kind.VALIDATE, CommandState.DONE, {"record": "Statistik_1000.json"}),
        (Kind.CHECKPOINT, CommandState.DONE, {"checkpoint": "step_0001500"}),
        (Kind.SET, CommandState.REJECTED, None),
        (Kind.PAUSE, CommandState.DONE, {}),
    ):
        arguments = {"LR_SCALE": 0.5} if kind is Kind.SET else {}
        asked = store.commands.submit("r1", kind, arguments, actor="Eva Ö", source="api")
        store.commands.begin(asked.id)
        reason = "not now" if state is CommandState.REJECTED else None
        store.commands.finish(asked.id, state, step=1000, result=result, reason=reason)
    store.runs.describe("r1", {"name": "city"}, actor="eva", source="api")
    store.runs.update("r1", state="finished")
    store.close()
    return root


def crate_of(root: Path, *options: str) -> dict[str, dict[str, Any]]:
    """Write the crate and return its entities by identifier."""
    assert exit_code(["export", "--ro-crate", str(root), *options]) == 0
    document = json.loads((root / "ro-crate-metadata.json").read_text())
    assert document["@context"] == "https://w3id.org/ro/crate/1.3/context"
    found = {item["@id"]: item for item in document["@graph"]}
    assert len(found) == len(document["@graph"]), "an entity is there twice"
    check_rules(root, found)
    return found


def check_rules(root: Path, found: dict[str, dict[str, Any]]) -> None:
    descriptor, crate = found["ro-crate-metadata.json"], found["./"]
    assert descriptor["about"] == {"@id": "./"}
    assert {"@id": "https://w3id.org/ro/crate/1.3"} in descriptor["conformsTo"]
    assert crate["@type"] == "Dataset"
    assert all(crate[key] for key in ("name", "description", "datePublished", "license"))
    assert datetime.fromisoformat(crate["datePublished"]).tzinfo is not None
    assert crate["conformsTo"] == {"@id": "https://w3id.org/ro/wfrun/process/0.5"}
    referred = {identifier for item in found.values() for identifier in references_in(item)}
    assert referred - found.keys() <= {"https://w3id.org/ro/crate/1.3", "https://w3id.org/ro/crate/1.1"}
    listed = [part["@id"] for part in crate["hasPart"]]
    assert len(listed) == len(set(listed))
    for identifier, item in found.items():
        if item["@type"] == "File" or (item["@type"] == "Dataset" and identifier.endswith("/") and identifier != "./"):
            assert identifier in listed
            assert os.path.lexists(root / unquote(identifier)), identifier
        if item["@type"] in ACTIONS:
            assert found[item["instrument"]["@id"]]["@type"] == "SoftwareApplication"
            assert item.get("actionStatus", "http://schema.org/CompletedActionStatus") in STATUSES
            assert "error" not in item or item["actionStatus"].endswith("FailedActionStatus")
    for item in found.values():
        if item["@type"] == "SoftwareApplication":
            assert item["version"]
            assert item["url"]


def references_in(item: Any) -> Iterator[str]:
    """Identifiers to which an entity refers."""
    for key, value in item.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict) and key != "@id":
                yield one["@id"]


def of_kind(found: dict[str, dict[str, Any]], prefix: str) -> list[dict[str, Any]]:
    return [item for identifier, item in found.items() if identifier.startswith(prefix)]


def test_files_starts_and_commands_are_described_with_what_came_of_them(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack(run / "Statistik_500.json")
    found = crate_of(run, "--licence", "CC-BY-4.0")
    assert "2 starts, 4 commands" in capsys.readouterr().out

    assert found["./"]["name"] == "city"
    assert found["./"]["license"] == {"@id": "https://spdx.org/licenses/CC-BY-4.0"}
    assert {"Statistik_500.json.gz", "Statistik_1500.json", "checkpoints/step_0001500/", "net%201.safetensors"} <= set(
        found
    )
    first, second = of_kind(found, "#start-")
    assert first["result"] == {"@id": "Statistik_500.json.gz"}
    assert second["result"] == [{"@id": "Statistik_1000.json"}, {"@id": "Statistik_1500.json"}]
    assert second["actionStatus"] == "http://schema.org/CompletedActionStatus"
    assert {"@id": "#training-data"} in second["object"]
    assert found["#training-data"]["identifier"] == "t1"

    validate, checkpoint, rejected, pause = of_kind(found, "#command-")
    assert (validate["@type"], validate["result"]) == ("CreateAction", {"@id": "Statistik_1000.json"})
    assert checkpoint["result"] == {"@id": "checkpoints/step_0001500/"}
    assert (rejected["@type"], rejected["error"]) == ("UpdateAction", "not now")
    assert (pause["@type"], pause["agent"]) == ("UpdateAction", {"@id": "#person-Eva%20%C3%96"})
    assert found["#person-Eva%20%C3%96"]["name"] == "Eva Ö"
    assert "hidden-one" not in (run / "ro-crate-metadata.json").read_text()


def test_of_very_many_records_and_commands_the_newest_are_named_and_the_best(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "MAX_RECORDS", 1)
    monkeypatch.setattr(actions, "MAX_COMMANDS", 2)
    found = crate_of(run)

    assert {name for name in found if name.startswith("Statistik")} == {"Statistik_500.json", "Statistik_1500.json"}
    assert [item["name"] for item in of_kind(found, "#command-")] == ["set LR_SCALE=0.5", "pause"]


def test_a_run_without_its_store_is_described_by_its_files(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "leitstand.db").unlink()
    found = crate_of(run)

    assert "without commands: The store in" in capsys.readouterr().err
    (start,) = of_kind(found, "#start-")
    assert len(start["result"]) == 3
    assert of_kind(found, "#command-") == []


def test_a_fresh_start_moves_the_description_away_with_the_run(run: Path) -> None:
    crate_of(run)
    archived = RunDirectory(run).archive()

    assert archived is not None
    assert (archived / "ro-crate-metadata.json").exists()


def test_bad_input_is_one_sentence(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert exit_code(["export", "--ro-crate", str(tmp_path / "empty")]) == 2
    assert "holds no run; name a run directory" in capsys.readouterr().err
    assert exit_code(["export", "--ro-crate", str(run), "net.onnx"]) == 2
    assert "leave OUT out" in capsys.readouterr().err
    assert exit_code(["export"]) == 2
    assert "Missing argument 'OUT'" in capsys.readouterr().err
