"""`leitstand stats prune` on run directories."""

import json
import time
from pathlib import Path

import pytest

from service.cli import exit_code
from service.run.directory import RunDirectory
from service.run.identity import RunIdentity
from service.run.records.history import Records
from tests.service.harness.checkpoints import save_checkpoint
from tests.service.harness.saved_records import save_original, save_record


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Records of the steps 1 to 12 with previews: the best is of step 5, and step 7 has a checkpoint."""
    for step in range(1, 13):
        save_record(tmp_path, step, quality_ki_value=0.9 if step == 5 else 0.5)
        previews = tmp_path / "previews" / f"step_{step}"
        previews.mkdir(parents=True)
        (previews / "a.webp").write_bytes(b"picture")
    save_checkpoint(RunDirectory(tmp_path), 7)
    RunDirectory(tmp_path).write_identity(RunIdentity("r1"))
    return tmp_path


def steps(root: Path, *, archived: bool = False) -> list[int]:
    return [record.step for record in Records(root, archived=archived)]


def prune(root: Path, *options: str) -> int:
    return exit_code(["stats", "prune", str(root), *options])


def test_what_is_pruned_is_in_the_archive_with_its_previews_and_best_newest_and_checkpoints_stay(root: Path) -> None:
    before = (root / "Statistik_3.json").read_bytes()

    assert prune(root, "--keep-every", "4") == 0
    assert steps(root) == [4, 5, 7, 8, 12]
    target = root / "archive" / "r1-pruned"
    assert (target / "Statistik_3.json").read_bytes() == before
    assert (target / "previews" / "step_3" / "a.webp").exists()
    assert not (root / "previews" / "step_3").exists()
    assert (root / "previews" / "step_4" / "a.webp").exists()
    assert steps(root, archived=True) == list(range(1, 13))


def test_a_dry_run_says_the_same_and_changes_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prune(root, "--keep-last", "3", "--dry-run", "--json") == 0
    printed = capsys.readouterr()
    assert "7 of 12 records" in printed.err
    assert "would be moved to archive/: steps 1, 2, 3, 4, 6, 8, 9" in printed.err
    (names,) = json.loads(printed.out).values()
    assert steps(root) == list(range(1, 13))

    assert prune(root, "--keep-last", "3") == 0
    assert steps(root) == [5, 7, 10, 11, 12]
    assert sorted(path.name for path in (root / "archive" / "r1-pruned").glob("*.json")) == sorted(names)


def test_only_records_older_than_an_age_go(tmp_path: Path) -> None:
    now = time.time()
    for step, days in ((1, 40), (2, 31), (3, 29), (4, 0)):
        save_record(tmp_path, step, last_update_time=now - days * 86400, quality_ki_value=0.5 + step / 100)

    assert prune(tmp_path, "--older-than", "30d") == 0
    assert steps(tmp_path) == [3, 4]


def test_deleting_leaves_no_archive_and_a_file_that_cannot_be_read_stays(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "Statistik_9.json").write_text("{")

    assert prune(root, "--keep-last", "1", "--delete") == 2
    assert steps(root) == [5, 7, 12]
    assert (root / "Statistik_9.json").exists()
    assert not (root / "archive").exists()
    assert not (root / "previews" / "step_3").exists()
    assert "Statistik_9.json (it is cut off" in capsys.readouterr().err


def test_nothing_in_the_archive_is_replaced_by_a_later_pruning_of_the_same_step(root: Path) -> None:
    assert prune(root, "--keep-last", "1") == 0
    save_record(root, 1, quality_ki_value=0.1)
    assert prune(root, "--keep-last", "1") == 0

    assert [path.parent.name for path in sorted(root.glob("archive/*/Statistik_1.json"))] == [
        "r1-pruned",
        "r1-pruned-2",
    ]
    assert json.loads((root / "archive" / "r1-pruned" / "Statistik_1.json").read_text())["quality_ki_value"] == 0.5


def test_the_best_of_each_validation_set_and_of_each_system_stays(tmp_path: Path) -> None:
    save_original(tmp_path, 1, quality_ki_value=0.95)
    save_original(tmp_path, 2, quality_ki_value=0.5)
    save_record(tmp_path, 3, quality_ki_value=0.6)
    save_record(tmp_path, 4, quality_ki_value=0.5)
    save_record(tmp_path, 5, quality_ki_value=0.3, validation_data="other")
    save_record(tmp_path, 6, quality_ki_value=0.2, validation_data="other")

    assert prune(tmp_path, "--keep-last", "1") == 0
    assert steps(tmp_path) == [1, 3, 5, 6]


def test_what_a_record_says_of_its_run_names_no_folder(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_record(tmp_path / "run", step, run_id="../../outside")

    assert prune(tmp_path / "run", "--keep-last", "1") == 0
    assert [path.name for path in (tmp_path / "run" / "archive").iterdir()] == ["unnamed-pruned"]


@pytest.mark.parametrize("options", [[], ["--older-than", "soon"]])
def test_without_a_rule_or_with_a_wrong_age_nothing_is_pruned(options: list[str], root: Path) -> None:
    assert prune(root, *options) == 2
    assert steps(root) == list(range(1, 13))


def test_records_that_a_report_in_the_directory_points_at_stay(root: Path) -> None:
    assert exit_code(["stats", "report", str(root), "--out", str(root / "report.html")]) == 0
    (root / "other.html").write_text("<p>no report</p>")
    for step in range(13, 16):
        save_record(root, step, quality_ki_value=0.95 if step == 14 else 0.5)

    assert prune(root, "--keep-last", "1") == 0
    assert steps(root) == [5, 7, 12, 14, 15]
