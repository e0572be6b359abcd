"""The cache of what was computed from records: only new files are read again, and nothing can go wrong by it."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from service.cli import exit_code
from service.run.record import encode_record
from service.run.records import history
from service.run.records.cache import line_cache
from service.run.records.history import Records
from service.run.records.tables.lines import CsvTable
from tests.service.harness.saved_records import a_record, save_record

COUNT = 2 * line_cache.PAGE_FILES + 10


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for step in range(1, COUNT + 1):
        settle(save_record(tmp_path / "run", step, quality_ki_value=step / 1000))
    return tmp_path / "run"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read."""
    found: list[str] = []
    real = history.read_content
    monkeypatch.setattr(history, "read_content", lambda path: found.append(path.name) or real(path))
    monkeypatch.setattr(line_cache, "SETTLED_SECONDS", -1.0)
    return found


def settle(path: Path) -> Path:
    os.utime(path, (1e9, 1e9))
    return path


def csv_of(run: Path, home: Path | None) -> bytes:
    return b"".join(Records(run, cache=home).lines("csv", CsvTable().line))


def qualities_of(run: Path, home: Path | None) -> list[float]:
    return [summary.values["quality_ki_value"] for summary in Records(run, cache=home).summaries(run.resolve())]


def test_a_second_look_reads_no_file_and_says_the_same(run: Path, tmp_path: Path, reads: list[str]) -> None:
    home = tmp_path / "cache"
    expected, qualities = csv_of(run, None), qualities_of(run, None)
    assert csv_of(run, home) == expected
    assert qualities_of(run, home) == qualities
    reads.clear()

    assert csv_of(run, home) == expected
    assert qualities_of(run, home) == qualities
    assert reads == []


def test_only_files_that_are_new_or_changed_are_read_again(run: Path, tmp_path: Path, reads: list[str]) -> None:
    home = tmp_path / "cache"
    csv_of(run, home)
    save_record(run, COUNT + 1)
    reads.clear()
    assert csv_of(run, home) == csv_of(run, None)
    assert reads[0] == f"Statistik_{COUNT + 1}.json"
    assert len(reads) == 1 + COUNT + 1

    (run / f"Statistik_{COUNT}.json").write_bytes(encode_record(a_record(COUNT, quality_ki_value=0.875)))
    reads.clear()
    assert b"0.875" in csv_of(run, home)
    assert reads == [f"Statistik_{COUNT}.json"]


def test_a_file_that_was_written_just_now_is_not_kept(tmp_path: Path, reads: list[str]) -> None:
    line_cache.SETTLED_SECONDS = 1e6  # undone by the fixture
    save_record(tmp_path / "run", 1)
    for _ in range(2):
        csv_of(tmp_path / "run", tmp_path / "cache")

    assert reads == ["Statistik_1.json"] * 2


def test_a_bad_file_is_named_each_time(run: Path, tmp_path: Path, reads: list[str]) -> None:
    (run / "Statistik_5.json").write_text("{")
    for _ in range(2):
        records = Records(run, cache=tmp_path / "cache")
        assert len(list(records.summaries(run.resolve()))) == COUNT - 1
        assert [problem.path.name for problem in records.problems] == ["Statistik_5.json"]


def damage(home: Path) -> None:
    for path in home.glob("*.db"):
        path.write_bytes(b"\x00\xff" * 4096)


def truncate(home: Path) -> None:
    for path in home.glob("*.db"):
        path.write_bytes(path.read_bytes()[:20_000])


def empty(home: Path) -> None:
    for path in home.glob("*.db"):
        path.write_bytes(b"")


def of_another_program(home: Path) -> None:
    for path in home.glob("*.db"):
        path.unlink()
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE lines (other TEXT)")
        connection.close()


def of_another_version(home: Path) -> None:
    for path in home.glob("*.db"):
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version = 1")
        connection.execute("UPDATE lines SET line = x'00'")
        connection.commit()
        connection.close()


def other_lines(home: Path) -> None:
    """What only another program would do: lines that are no summaries."""
    for path in home.glob("*.db"):
        connection = sqlite3.connect(path)
        connection.execute("UPDATE lines SET line = x'7b0a' WHERE kind LIKE 'summary%'")
        connection.commit()
        connection.close()


def folders(home: Path) -> None:
    for path in home.glob("*.db"):
        if path.is_file():
            path.unlink()
            path.mkdir()


@pytest.mark.parametrize(
    "spoil", [damage, truncate, empty, of_another_program, of_another_version, other_lines, folders]
)
def test_whatever_happens_to_the_cache_records_are_read_as_without_it(
    run: Path, tmp_path: Path, reads: list[str], spoil: Callable[[Path], None]
) -> None:
    home = tmp_path / "cache"
    expected, qualities = csv_of(run, None), qualities_of(run, None)
    for _ in range(2):
        assert csv_of(run, home) == expected
        assert qualities_of(run, home) == qualities
        spoil(home)

    assert csv_of(run, home) == expected
    assert qualities_of(run, home) == qualities


def test_the_list_reads_only_new_files_too_and_does_without_lines_that_another_program_changed(
    run: Path, tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def listed() -> str:
        assert exit_code(["stats", "list", str(run)]) == 0
        return capsys.readouterr().out

    monkeypatch.setenv("LEITSTAND_CACHE", "")
    expected = listed()
    monkeypatch.setenv("LEITSTAND_CACHE", str(tmp_path / "cache"))
    assert listed() == expected
    reads.clear()
    assert listed() == expected
    assert reads == []

    for path in (tmp_path / "cache").glob("*.db"):
        connection = sqlite3.connect(path)
        connection.execute("UPDATE lines SET line = x'5b375d0a' WHERE kind LIKE 'list%'")  # [7]
        connection.commit()
        connection.close()
    assert listed() == expected


def test_numbers_and_texts_that_strict_json_cannot_hold_are_the_same_from_the_cache(
    tmp_path: Path, reads: list[str]
) -> None:
    path = save_record(tmp_path / "run", 1, samples_seen=10**30)
    path.write_text(path.read_text().replace('"trigger": "schedule"', r'"trigger": "\udc80"'))
    folder = (tmp_path / "run").resolve()
    expected = [summary.values for summary in Records(folder).summaries(folder)]
    assert expected[0]["samples_seen"] == 10**30

    for _ in range(2):
        found = list(Records(folder, cache=tmp_path / "cache").summaries(folder))
        assert [summary.values for summary in found] == expected
    assert len(reads) == 2


def test_a_cache_that_is_locked_or_cannot_be_made_is_done_without(run: Path, tmp_path: Path) -> None:
    home = tmp_path / "cache"
    expected = csv_of(run, home)
    (path,) = home.glob("*.db")
    connection = sqlite3.connect(path)
    connection.execute("BEGIN EXCLUSIVE")
    assert csv_of(run, home) == expected
    connection.close()
    (tmp_path / "file").write_text("")

    assert csv_of(run, tmp_path / "file" / "cache") == expected


def test_the_cache_belongs_to_its_user_alone_and_unused_ones_are_deleted(run: Path, tmp_path: Path) -> None:
    home = tmp_path / "cache"
    home.mkdir()
    old = home / "old.db"
    old.write_bytes(b"")
    os.utime(old, (1e9, 1e9))
    csv_of(run, home)

    (path,) = home.glob("*.db")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_full_cache_takes_no_more(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_cache, "MAX_BYTES", 1)
    monkeypatch.setattr(line_cache, "COMMIT_BYTES", 1)
    home = tmp_path / "cache"

    assert csv_of(run, home) == csv_of(run, None)
    (path,) = home.glob("*.db")
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM lines").fetchone() <= (1,)
