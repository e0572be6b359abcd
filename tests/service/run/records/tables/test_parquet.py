"""Records as Parquet: the keys' own types, null where nothing is, one group of rows in memory at a time."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.cli import exit_code
from service.run.record import KEYS
from service.run.record_schema import FIELDS
from service.run.records.history import Records
from service.run.records.saved_record import SavedRecord
from service.run.records.tables import parquet
from tests.service.harness.saved_records import a_record, save_original, save_record
from tests.service.harness.stand_in import Answer, StandIn, page

pq = pytest.importorskip("pyarrow.parquet")


def table_of(*folders: Path, tmp_path: Path, options: tuple[str, ...] = ()) -> Any:
    out = tmp_path / "all.parquet"
    assert exit_code(["stats", "csv", *map(str, folders), "--out", str(out), *options]) == 0
    return pq.read_table(out)


def test_columns_have_the_types_of_the_keys_and_integers_stay_integers_beside_null(tmp_path: Path) -> None:
    save_record(tmp_path / "run", 500, slow_rank=1, quality_ki_value=None, training_active=True, samples_seen=2**53 + 1)
    save_record(tmp_path / "run", 1000, slow_rank=None, quality_ki_value=1)
    table = table_of(tmp_path / "run", tmp_path=tmp_path)

    kinds = {"integer": "int64", "number": "double", "boolean": "bool"}
    assert {field.name: str(table.schema.field(field.name).type) for field in FIELDS} == {
        field.name: kinds.get(field.kind, "string") for field in FIELDS
    }
    assert table.column_names == ["run", "branch", "file", "origin", "remarks", *KEYS]
    assert table["slow_rank"].to_pylist() == [1, None]
    assert table["quality_ki_value"].to_pylist() == [None, 1.0]
    assert table["samples_seen"].to_pylist()[0] == 2**53 + 1
    assert table["training_active"].to_pylist() == [True, False]
    assert table["layer_activity_map"].to_pylist()[0] == '{"Backward 1":50.0,"Forward 1":100.0}'


def test_layers_are_columns_by_choice_and_the_originals_records_have_their_remarks(tmp_path: Path) -> None:
    save_record(tmp_path / "run", 500)
    save_original(tmp_path / "run", 1000)
    table = table_of(tmp_path / "run", tmp_path=tmp_path, options=("--layers",))

    assert table["layer_activity_map.Backward 1"].to_pylist() == [50.0, 25.0]
    assert "layer_activity_map" not in table.column_names
    assert table["origin"].to_pylist() == ["leitstand", "original"]
    assert "smoothed" in table["remarks"].to_pylist()[1]


def test_a_format_is_chosen_by_name_or_option(tmp_path: Path) -> None:
    save_record(tmp_path / "run", 500)
    out = tmp_path / "table"
    assert exit_code(["stats", "csv", str(tmp_path / "run"), "--out", str(out), "--format", "parquet"]) == 0
    assert out.read_bytes()[:4] == b"PAR1"
    assert exit_code(["stats", "csv", str(tmp_path / "run"), "--out", f"{out}.parquet", "--format", "csv"]) == 0
    assert Path(f"{out}.parquet").read_bytes().startswith(b"run,branch,file")


def test_whole_numbers_that_do_not_fit_and_keys_without_a_column_are_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save_record(tmp_path / "run", 500)
    text = path.read_text().replace('"samples_seen": 1', f'"samples_seen": {10**30}').replace(
        '"learning_rate_value": 0.5', f'"learning_rate_value": {10**400}'
    )  # fmt: skip
    path.write_text(text.replace('"trigger"', '"later_key": 1,\n  "trigger"'))
    table = table_of(tmp_path / "run", tmp_path=tmp_path)

    assert table["samples_seen"].to_pylist() == [None]
    assert table["learning_rate_value"].to_pylist() == [None]
    errors = capsys.readouterr().err
    assert "left out: later_key, which this version does not know" in errors
    assert "left out: whole numbers of more than 64 bits in samples_seen" in errors


def test_records_are_read_and_written_a_group_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP_RECORDS", 4)
    for step in range(1, 11):
        save_record(tmp_path / "run", step)
    sizes_when_read: list[int] = []
    out = tmp_path / "all.parquet"

    def watched() -> Iterator[SavedRecord]:
        for record in Records(tmp_path / "run"):
            sizes_when_read.append(out.stat().st_size)
            yield record

    with out.open("wb", buffering=0) as file:
        parquet.ParquetTable().write(watched(), file)
    content = pq.ParquetFile(out)
    assert [content.metadata.row_group(index).num_rows for index in range(content.num_row_groups)] == [4, 4, 2]
    assert sizes_when_read[3] < sizes_when_read[4] < sizes_when_read[8]


def test_without_pyarrow_or_a_file_one_sentence_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_record(tmp_path / "run", 500)
    assert exit_code(["stats", "csv", str(tmp_path / "run"), "--format", "parquet"]) == 2
    assert "Parquet is no text; name the file to write with --out" in capsys.readouterr().err

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert exit_code(["stats", "csv", str(tmp_path / "run"), "--out", str(tmp_path / "a.parquet")]) == 2
    assert 'install it with `pip install "leitstand[parquet]"`' in capsys.readouterr().err
    assert not (tmp_path / "a.parquet").exists()


def test_a_servers_records_are_a_parquet_file_too(server: StandIn, tmp_path: Path) -> None:
    import orjson

    lines = b"".join(orjson.dumps(a_record(step)) + b"\n" for step in (500, 1000))
    export = Answer(lines, headers={"Content-Type": "application/jsonl"})
    listed = page("records", [], None, unreadable=[], count=2)
    server.on("GET", "/statistics", lambda request: export if "format" in request.target else listed)
    server.on("GET", "/state", Answer({"run_id": "r1"}))

    assert exit_code(["stats", "csv", "--url", server.url, "--out", str(tmp_path / "all.parquet")]) == 0
    assert pq.read_table(tmp_path / "all.parquet")["step_current"].to_pylist() == [500, 1000]
