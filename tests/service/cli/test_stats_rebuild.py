"""`leitstand stats rebuild`: the store of a run made again from its files."""

import hashlib
import json
from pathlib import Path

import pytest

from service.cli import exit_code
from service.run.identity import RunIdentity
from service.run.lock import take_lock
from service.run.records.keeping.packing import pack
from service.run.state import RunState
from service.store.store import Store
from tests.service.harness.saved_records import save_original, save_record


@pytest.fixture
def run(tmp_path: Path) -> Path:
    root = tmp_path / "demo"
    for step in (500, 1000, 1500):
        save_record(root, step, quality_ki_value=step / 10_000, grad_norm=None)
    save_record(root / "archive" / "r1-branch-0", 2000)
    (root / "run.json").write_bytes(RunIdentity("r1").to_json())
    (root / "config.json").write_text(json.dumps({"settings": {"N_FEATS": 96}, "origins": {}}))
    return root


def rebuild(root: Path, *options: str) -> int:
    return exit_code(["stats", "rebuild", str(root), *options])


def test_a_store_that_is_gone_is_made_again_with_run_records_branches_and_curves(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack(run / "Statistik_500.json")
    assert rebuild(run) == 0
    assert "the run itself, 4 records and 4 points of curves" in capsys.readouterr().out

    store = Store(run / "leitstand.db")
    row = store.runs.get("r1")
    assert row is not None
    assert (row.step, row.state, row.config["N_FEATS"]) == (1500, RunState.STOPPED, 96)
    assert row.snapshot == json.loads((run / "Statistik_1500.json").read_text())
    found = store.records.get("r1", 1000)
    assert found is not None
    assert found.sha256 == hashlib.sha256((run / "Statistik_1000.json").read_bytes()).hexdigest()
    assert store.records.count("r1-branch-0") == 1
    points = store.series.find("r1")
    assert [(point.step, point.values["quality_ki_value"]) for point in points] == [
        (500, 0.05), (1000, 0.1), (1500, 0.15),
    ]  # fmt: skip
    assert "grad_norm" not in points[0].values
    assert exit_code(["stats", "verify", str(run)]) == 0


def test_what_a_store_has_stays_and_what_it_lost_is_filled_in(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rebuild(run)
    store = Store(run / "leitstand.db")
    store.runs.update("r1", state="finished", reason="done")
    store.events.add("r1", 7, "started", {"world_size": 2})
    with store.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM records WHERE step = 1000")
    capsys.readouterr()
    assert rebuild(run, "--json") == 0

    answer = json.loads(capsys.readouterr().out)
    assert (answer["is_new"], answer["records"], answer["points"], answer["bad"]) == (False, 1, 0, [])
    row = store.runs.get("r1")
    assert row is not None
    assert (row.state, row.reason) == (RunState.FINISHED, "done")
    assert [event.kind for event in store.events.find("r1", 0, 10)] == [*["record"] * 3, "started"]


def test_a_store_without_events_gets_those_that_log_and_records_tell_once(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_record(run, 1200, trigger="manual", command_id="c" * 32)
    line = "2026-11-30 13:16:0{},000 INFO {}\n"
    texts = [
        "Starting at step 0: 2 ranks on cpu, 11 training samples, 3 validation images.",
        "Settings changed at step 40: LR_SCALE=0.5", "Checkpoint saved: step_0000500",
        "Rolled back from step 600 to step_0000500 (a person asked for it); this is branch 1.",
    ]  # fmt: skip
    (run / "training.log").write_text("".join(line.format(number, text) for number, text in enumerate(texts)))
    assert rebuild(run) == 0
    assert "9 events and 1 commands, as far as log and records tell" in capsys.readouterr().out

    store = Store(run / "leitstand.db")
    kinds = [event.kind for event in store.events.find("r1", 0, 100)]
    assert sorted(kinds) == [
        "checkpoint", "command", "record", "record", "record", "record", "rollback", "set", "started",
    ]  # fmt: skip
    assert [kind for kind in kinds if kind in ("started", "set", "rollback")] == ["started", "set", "rollback"]
    (command,) = store.commands.find("r1")
    assert (command.id, command.kind, command.state, command.step) == ("c" * 32, "validate", "done", 1200)
    assert command.actor == "unknown"
    assert rebuild(run) == 0
    assert len(store.events.find("r1", 0, 100)) == 9
    assert exit_code(["replay", "export", str(run), "--out", str(tmp_path / "replay.json")]) == 0
    found = json.loads((tmp_path / "replay.json").read_text())["interventions"]
    assert [(item["kind"], item["step"]) for item in found] == [
        ("set", 40), ("checkpoint", 500), ("rollback", 600), ("validate", 1200),
    ]  # fmt: skip


def test_bad_records_and_those_of_the_original_system_are_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "Statistik_7.json").write_text("{")
    save_original(run, 9)
    assert rebuild(run) == 2

    assert [line.split("/")[-1].split()[0] for line in capsys.readouterr().err.splitlines()] == [
        "Statistik_7.json", "Statistik_9.json",
    ]  # fmt: skip
    assert Store(run / "leitstand.db").records.count("r1") == 3


def test_a_directory_without_a_run_or_with_a_trainer_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert rebuild(tmp_path / "empty") == 2
    assert "holds no run.json" in capsys.readouterr().err

    lock = take_lock(run / ".lock", 0.0)
    assert lock is not None
    assert rebuild(run) == 2
    assert "A trainer is working in" in capsys.readouterr().err
    lock.close()


def test_a_damaged_store_is_left_alone(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "leitstand.db").write_bytes(b"no database" * 500)
    assert rebuild(run) == 2

    assert "if it is damaged, move it away and try again" in capsys.readouterr().err
    assert (run / "leitstand.db").read_bytes() == b"no database" * 500
