"""`leitstand stats verify`, on directories with the files and the store of a run."""

import gzip
import json
from hashlib import sha256
from pathlib import Path

import pytest

from service.cli import exit_code
from service.run.directory import RunDirectory
from service.run.identity import RunIdentity
from service.store.store import Store
from tests.service.harness.checkpoints import save_checkpoint
from tests.service.harness.saved_records import a_record, save_original, save_record


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A run of two records and two checkpoints, with its store."""
    directory = RunDirectory(tmp_path / "run")
    directory.root.mkdir()
    directory.write_identity(RunIdentity("r1"))
    store = Store(directory.store, create=True)
    store.open_run("r1", {})
    for step in (5, 10):
        path = save_record(directory.root, step)
        store.records.add("r1", step, a_record(step), sha256(path.read_bytes()).hexdigest())
        save_checkpoint(directory, step)
    store.close()
    return directory.root


def verify(root: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, list[str]]:
    code = exit_code(["stats", "verify", str(root)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err.splitlines()


def test_what_is_as_it_was_written_passes_packed_records_too(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = root / "Statistik_5.json"
    path.with_suffix(".json.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    save_original(root, 3)

    assert verify(root, capsys) == (
        0,
        f"{root}: 3 records (2 against the store), 2 checkpoints, 1 of the original system, which have no schema, "
        "nothing wrong\n",
        [],
    )


def test_a_record_that_was_changed_is_found_by_its_sha256(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save_record(root, 10, quality_ki_value=0.9)
    code, out, err = verify(root, capsys)

    assert (code, err) == (1, [f"wrong: {path} (its sha256 is not the one in the store)"])
    assert out.endswith("1 wrong\n")


def test_records_that_break_the_schema_are_named_without_a_store_too(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    RunDirectory(root).store.unlink()
    rank = {"rank": 0, "host": "a", "device": "cpu", "step_duration": "x", "data_wait": 0, "memory": 0}
    broken = a_record(5) | {"quality_ki_value": 1.5, "trigger": "whim", "per_rank": [rank]}
    del broken["grad_norm"]
    (root / "Statistik_5.json").write_text(json.dumps(broken))
    (root / "Statistik_10.json").write_text(json.dumps(a_record(10) | {"total_loss_value": float("nan")}))
    code, _, err = verify(root, capsys)

    assert code == 1
    assert [line.partition(" (")[2].rstrip(")") for line in err] == [
        "grad_norm is missing",
        "quality_ki_value is 1.5, but must be at most 1",
        "trigger is 'whim', but must be one of schedule, manual, final",
        "total_loss_value is nan, but a number that is not finite must be null",
    ]


def test_damaged_and_incomplete_checkpoints_and_links_to_none_are_named(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = root / "checkpoints"
    (checkpoints / "step_0000005" / "state.pt").write_bytes(b"state of step 6")
    (checkpoints / "step_0000010" / "manifest.json").unlink()
    (checkpoints / "best").symlink_to("step_0000099")
    code, _, err = verify(root, capsys)

    assert code == 1
    assert err == [
        f"wrong: {checkpoints / 'step_0000005'} (the sha256 of its state.pt is not the one in its manifest)",
        f"wrong: {checkpoints / 'step_0000010'} (it cannot be read (No such file or directory))",
        f"wrong: {checkpoints / 'best'} (it points to step_0000099, which is missing)",
    ]


def test_records_of_the_store_without_a_file_are_counted_and_bad_files_are_wrong(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "Statistik_5.json").unlink()
    code, out, _ = verify(root, capsys)
    assert (code, "1 in the store without a file" in out) == (0, True)

    (root / "Statistik_10.json").write_bytes(b"")
    code, _, err = verify(root, capsys)
    assert (code, err) == (1, [f"wrong: {root / 'Statistik_10.json'} (it is empty)"])


def test_the_store_is_only_read_and_a_broken_one_is_an_error(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = RunDirectory(root).store.read_bytes()
    assert verify(root, capsys)[0] == 0
    assert RunDirectory(root).store.read_bytes() == before

    RunDirectory(root).store.write_bytes(b"no database" * 100)
    code, out, err = verify(root, capsys)
    assert (code, "2 records (0 against the store)" in out) == (1, True)
    assert err == [f"wrong: {RunDirectory(root).store} (it cannot be read (file is not a database))"]


def test_a_shared_store_is_asked_by_its_url(
    root: Path, store_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    RunDirectory(root).store.unlink()
    store = Store(store_url)
    store.open_run("r1", {})
    store.records.add("r1", 5, a_record(5), "0" * 64)
    store.close()
    monkeypatch.setenv("STORE_URL", store_url)
    code, _, err = verify(root, capsys)

    assert (code, err) == (1, [f"wrong: {root / 'Statistik_5.json'} (its sha256 is not the one in the store)"])


def test_a_shared_store_that_does_not_answer_is_one_sentence(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = exit_code(["stats", "verify", str(root), "--store-url", "postgresql://127.0.0.1:1/none"])

    assert code == 2
    assert capsys.readouterr().err.startswith("Error: The store cannot be asked (")
