"""Packing and thinning out records while a run is trained."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from service.run.directory import RunDirectory
from service.run.identity import RunIdentity
from service.run.records.history import Records
from service.run.records.keeping import automatic
from service.run.records.keeping.automatic import KeepingRule, RecordKeeper, start_keeping
from tests.service.harness.checkpoints import save_checkpoint
from tests.service.harness.saved_records import save_record


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Records of the steps 1 to 12, the best of step 2, checkpoints of the steps 8 and 10."""
    RunDirectory(tmp_path).write_identity(RunIdentity("r1"))
    for step in range(1, 13):
        save_record(tmp_path, step, quality_ki_value=0.9 if step == 2 else 0.5)
    for step in (8, 10):
        save_checkpoint(RunDirectory(tmp_path), step)
    return tmp_path


def names(root: Path) -> list[str]:
    found = sorted(root.glob("Statistik_*"), key=lambda path: int(path.name.split("_")[1].split(".")[0]))
    return [path.name.removeprefix("Statistik_").replace(".json", "") for path in found]


def test_records_up_to_the_oldest_checkpoint_are_packed_but_for_the_newest(root: Path) -> None:
    RecordKeeper(root, KeepingRule(pack_after=6)).run()
    assert names(root) == [*(f"{step}.gz" for step in range(1, 7)), "7", "8", "9", "10", "11", "12"]

    RecordKeeper(root, KeepingRule(pack_after=1)).run()
    assert names(root) == [*(f"{step}.gz" for step in range(1, 9)), "9", "10", "11", "12"]
    assert [record.step for record in Records(root)] == list(range(1, 13))


def test_old_records_are_thinned_out_but_for_the_best_the_newest_and_those_of_checkpoints(root: Path) -> None:
    keeper = RecordKeeper(root, KeepingRule(pack_after=1, keep_every=4, keep_last=2))
    for _ in range(2):
        keeper.run()

    assert names(root) == ["2.gz", "4.gz", "8.gz", "9", "10", "11", "12"]
    assert [record.step for record in Records(root, archived=True)] == list(range(1, 13))


def test_a_damaged_record_is_left_and_named_once_and_keeps_no_other_waiting(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (root / "Statistik_3.json").write_text('{"step_current": 3, ')
    keeper = RecordKeeper(root, KeepingRule(pack_after=6))
    for _ in range(2):
        keeper.run()

    assert names(root)[:7] == ["1.gz", "2.gz", "3", "4.gz", "5.gz", "6.gz", "7"]
    assert [record.getMessage() for record in caplog.records] == [
        "Statistik_3.json is left unpacked: it is damaged or no record."
    ]


def test_without_a_checkpoint_nothing_is_touched_since_a_resume_repeats_all(tmp_path: Path) -> None:
    for step in range(1, 5):
        save_record(tmp_path, step)
    RecordKeeper(tmp_path, KeepingRule(pack_after=1, keep_every=10, keep_last=1)).run()

    assert names(tmp_path) == ["1", "2", "3", "4"]


def test_a_backlog_is_worked_off_in_parts(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(automatic, "MAX_FILES", 3)
    keeper = RecordKeeper(root, KeepingRule(pack_after=1))
    keeper.run()
    assert sum(name.endswith(".gz") for name in names(root)) == 3

    keeper.run()
    assert sum(name.endswith(".gz") for name in names(root)) == 6


def test_it_runs_on_a_thread_of_its_own_and_not_at_all_by_default(root: Path, eventually: Callable[..., None]) -> None:
    before = threading.active_count()
    assert start_keeping(root, KeepingRule()) is None
    assert threading.active_count() == before

    thread = start_keeping(root, KeepingRule(pack_after=1))
    assert thread is not None
    eventually(lambda: names(root)[7] == "8.gz", what="the last record that may be packed")
    thread.close()
