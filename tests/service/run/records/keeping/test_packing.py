"""Packing one record, and what the trainer does with packed ones."""

import gzip
from pathlib import Path

import pytest

from service.run.directory import RunDirectory
from service.run.records.keeping.packing import pack, read_saved
from tests.service.harness.saved_records import save_record


def test_a_file_that_would_not_become_smaller_stays(tmp_path: Path) -> None:
    path = tmp_path / "Statistik_5.json"
    path.write_bytes(b"{}")

    assert pack(path) is None
    assert [file.name for file in tmp_path.iterdir()] == ["Statistik_5.json"]


@pytest.mark.parametrize("content", [b"", b'{"step_current": 5, ' * 40, b"[1, 2]" * 90, b"\xff" * 200])
def test_what_is_no_whole_record_is_left_as_it_is_and_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "Statistik_5.json"
    path.write_bytes(content)

    with pytest.raises(ValueError, match=r"^it is damaged or no record$"):
        pack(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("damaged", [b"\x1f\x8b", gzip.compress(b"x" * 100)[:-9]], ids=["head", "cut"])
def test_a_damaged_packed_record_is_an_error_in_words(tmp_path: Path, damaged: bytes) -> None:
    path = tmp_path / "Statistik_5.json.gz"
    path.write_bytes(damaged)

    with pytest.raises(ValueError, match=r"ends too early|no gzip file"):
        read_saved(path)


def test_a_packed_record_is_archived_by_a_rollback_and_by_a_fresh_start(tmp_path: Path) -> None:
    for step in (5, 10):
        pack(save_record(tmp_path, step))
    directory = RunDirectory(tmp_path)

    assert [path.name for path in directory.archive_records_after(5, tmp_path / "archive" / "b")] == [
        "Statistik_10.json.gz"
    ]
    assert directory.holds_run()
    target = directory.archive()
    assert target is not None
    assert [path.name for path in target.iterdir()] == ["Statistik_5.json.gz"]
