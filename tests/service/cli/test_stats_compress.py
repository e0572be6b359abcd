"""`leitstand stats compress`: records packed with gzip, byte for byte the same for every reader."""

import gzip
import json
from pathlib import Path

import pytest

from service.cli import exit_code
from tests.service.harness.saved_records import save_record


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for step in (500, 1000, 1500):
        save_record(tmp_path / "run", step, validation_images=[{"name": f"{i}.png"} for i in range(100)])
    return tmp_path / "run"


def compress(*arguments: str | Path) -> int:
    return exit_code(["stats", "compress", *map(str, arguments)])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_all_but_the_newest_are_packed_with_their_times_and_unpacked_again_byte_for_byte(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.iterdir()}
    assert compress(run) == 0

    assert names(run) == ["Statistik_1000.json.gz", "Statistik_1500.json", "Statistik_500.json.gz"]
    packed = run / "Statistik_500.json.gz"
    assert gzip.decompress(packed.read_bytes()) == before["Statistik_500.json"][0]
    assert packed.stat().st_mtime_ns == before["Statistik_500.json"][1]
    assert "2 records packed, " in capsys.readouterr().err

    assert compress(run, "--undo") == 0
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.iterdir()} == before


def test_every_command_reads_packed_records_as_before(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def answers() -> list[str]:
        found = []
        for command in (["csv"], ["jsonl"], ["compare", "--names", "psnr_ki_db"], ["check"], ["show", "500"]):
            exit_code(["stats", command[0], str(run), *command[1:]])
            found.append(capsys.readouterr().out.replace(".json.gz", ".json"))
        return found

    before = answers()
    compress(run)
    capsys.readouterr()

    assert answers() == before


def test_a_dry_run_and_a_second_run_change_nothing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = names(run)
    assert compress(run, "--dry-run") == 0
    assert names(run) == before
    assert "2 records, " in capsys.readouterr().err

    compress(run)
    packed = {name: (run / name).stat().st_ino for name in names(run)}
    assert compress(run) == 0
    assert {name: (run / name).stat().st_ino for name in names(run)} == packed


def test_packing_that_was_interrupted_is_finished_and_another_packed_file_is_not_replaced(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "Statistik_500.json.gz").write_bytes(gzip.compress((run / "Statistik_500.json").read_bytes()))
    (run / "Statistik_1000.json.gz").write_bytes(gzip.compress(b"another"))
    code = compress(run, "--json")

    assert code == 2
    assert names(run) == [
        "Statistik_1000.json", "Statistik_1000.json.gz", "Statistik_1500.json", "Statistik_500.json.gz",
    ]  # fmt: skip
    (outcome,) = json.loads(capsys.readouterr().out).values()
    assert [failed["name"] for failed in outcome["failed"]] == ["Statistik_1000.json"]


def test_archived_records_are_packed_only_when_asked_for(run: Path) -> None:
    folder = run / "archive" / "r1-pruned"
    path = save_record(folder, 100, validation_images=[{"name": "a.png"}] * 100)
    compress(run)
    assert path.exists()

    compress(run, "--archived")
    assert names(folder) == ["Statistik_100.json.gz"]
