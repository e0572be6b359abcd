"""Some values of many records: what is read again, what is kept, and what is no record."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from api.artifacts.records import columns
from api.artifacts.records.columns import RecordColumns
from service.run.record import encode_record, record_name
from tests.api.harness.example_run import example_record


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read."""
    found: list[str] = []
    real = columns.read_record_content
    monkeypatch.setattr(columns, "read_record_content", lambda file: found.append(Path(file).name) or real(file))
    return found


def write(folder: Path, step: int, content: bytes | None = None, **values: Any) -> None:
    path = folder / record_name(step)
    path.write_bytes(content or encode_record({**example_record(step, 1.0), **values}))


def settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files that were written just now count as settled."""
    monkeypatch.setattr("api.artifacts.file_cache.TIMESTAMP_GRANULARITY_SECONDS", -1.0)


def values_of(found: RecordColumns, steps: Iterable[int], *keys: str) -> dict[int, Any]:
    members = [json.loads(b"{%b}" % values) for values in found.of(steps, keys)]
    return {entry["step"]: entry["values"] for entry in members}


KEPT = {
    "a number beyond a float": (b"1e999", None),
    "a whole number of thirty digits": (b"123456789012345678901234567890", 123456789012345678901234567890),
    "half a character": (rb'"\ud800"', "\ud800"),
    "a nested value": (b'{"a": {"b": [1, 2.50, null, true]}}', {"a": {"b": [1, 2.5, None, True]}}),
    "words for numbers in a text": (b'"IMG_NaN Infinity"', "IMG_NaN Infinity"),
    "a value twice": (b'1, "per_rank": 2', 2),
}
LEFT_OUT = {
    "NaN": b"NaN", "Infinity": b"-Infinity", "no UTF-8": b'"\xff"', "a control character": b'"a\tb"',
    "nested too deep": b"[" * 300 + b"]" * 300, "no number": b"1.", "half of it": b'1}, {', "nothing": b"",
}  # fmt: skip


@pytest.mark.parametrize("asked", ["per_rank", "psnr_ki_db"])
@pytest.mark.parametrize("kind", KEPT)
def test_an_odd_record_is_read_as_python_does_whether_or_not_it_is_odd_where_one_asks(
    tmp_path: Path, kind: str, asked: str
) -> None:
    content, value = KEPT[kind]
    write(tmp_path, 1, encode_record({**example_record(1, 1.0), "per_rank": "+"}).replace(b'"+"', content))

    expected = {"per_rank": value, "psnr_ki_db": example_record(1, 1.0)["psnr_ki_db"]}
    assert values_of(RecordColumns(tmp_path), [1], asked) == {1: {asked: expected[asked]}}


@pytest.mark.parametrize("asked", ["per_rank", "psnr_ki_db"])
@pytest.mark.parametrize("kind", LEFT_OUT)
def test_a_damaged_record_is_left_out_even_where_what_one_asks_for_is_sound(
    tmp_path: Path, kind: str, asked: str
) -> None:
    damaged = encode_record({**example_record(1, 1.0), "per_rank": "+"}).replace(b'"+"', LEFT_OUT[kind])
    write(tmp_path, 1, damaged)
    write(tmp_path, 2)

    assert list(values_of(RecordColumns(tmp_path), [2, 1], asked)) == [2]


@pytest.mark.parametrize("headline", [True, "0.5", [0.5]])
def test_a_record_needs_its_headlines_even_where_one_asks_for_something_else(tmp_path: Path, headline: object) -> None:
    write(tmp_path, 1, quality_ki_value=headline)
    write(tmp_path, 2, quality_ki_value=1)
    write(tmp_path, 3, quality_ki_value=None)

    assert list(values_of(RecordColumns(tmp_path), [3, 2, 1], "per_rank")) == [3, 2]


def test_what_is_no_ordinary_file_or_gone_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, 1)
    (tmp_path / record_name(2)).symlink_to(record_name(1))
    (tmp_path / record_name(3)).mkdir()
    os.mkfifo(tmp_path / record_name(4))

    assert list(values_of(RecordColumns(tmp_path), [5, 4, 3, 2, 1], "step_current")) == [1]


def test_records_are_read_once_for_each_set_of_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[str]
) -> None:
    settle(monkeypatch)
    found = RecordColumns(tmp_path)
    for step in (1, 2):
        write(tmp_path, step)
    for _ in range(3):
        assert list(values_of(found, [2, 1], "psnr_ki_db")) == [2, 1]
        assert list(values_of(found, [2, 1], "total_loss_value")) == [2, 1]

    assert len(reads) == 4


def test_a_record_that_was_written_just_now_is_read_again_because_it_may_change_unseen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[str]
) -> None:
    monkeypatch.setattr("api.artifacts.file_cache.TIMESTAMP_GRANULARITY_SECONDS", 3600.0)
    write(tmp_path, 1)
    found = RecordColumns(tmp_path)
    for _ in range(2):
        values_of(found, [1], "quality_ki_value")

    assert len(reads) == 2


def test_no_more_is_kept_than_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[str]) -> None:
    settle(monkeypatch)
    monkeypatch.setattr(columns, "MAX_CACHED_RECORDS", 2)
    found = RecordColumns(tmp_path)
    for step in (1, 2, 3):
        write(tmp_path, step)

    values_of(found, [3, 2, 1], "psnr_ki_db")
    reads.clear()
    assert list(values_of(found, [1, 2], "psnr_ki_db")) == [1, 2]
    assert reads == []
    values_of(found, [3], "psnr_ki_db")
    assert reads == [record_name(3)]

    monkeypatch.setattr(columns, "MAX_CACHED_BYTES", 60)
    for _ in range(2):
        values_of(found, [1], "adaptive_mode", "per_rank")
    assert reads == [record_name(3), record_name(1), record_name(1)]
