"""Reading the records of run directories: order, archives, packed files, older versions, and what cannot be used."""

import gzip
import json
import os
from pathlib import Path

import pytest

from service.run.record import KEYS, encode_record
from service.run.records.history import Records
from service.run.records.saved_record import Origin, Remark, RemarkKind
from tests.service.harness.saved_records import a_record, save_record


def steps(records: Records) -> list[int]:
    return [record.step for record in records]


def reasons(records: Records) -> dict[str, str]:
    list(records)
    return {problem.path.name: problem.reason for problem in records.problems}


def test_records_come_in_the_order_of_their_steps_as_numbers_packed_or_not(tmp_path: Path) -> None:
    for step in (10_000, 500, 2000):
        save_record(tmp_path, step)
    (tmp_path / "Statistik_1500.json.gz").write_bytes(gzip.compress(encode_record(a_record(1500))))
    records = Records(tmp_path)

    assert steps(records) == [500, 1500, 2000, 10_000]
    assert records.problems == []
    first = next(iter(records))
    assert list(first.values) == list(KEYS)
    assert (first.run, first.branch, first.origin, first.remarks) == ("r1", "", Origin.LEITSTAND, ())
    assert first.values == first.raw == a_record(500)


def test_archived_records_are_read_on_demand_before_the_present_ones_of_the_same_step(tmp_path: Path) -> None:
    save_record(tmp_path, 5)
    save_record(tmp_path, 10, branch_id=1)
    save_record(tmp_path / "archive" / "r1-branch-0", 10)
    save_record(tmp_path / "archive" / "r1-branch-0", 15)

    assert steps(Records(tmp_path)) == [5, 10]
    assert [(record.step, record.branch) for record in Records(tmp_path, archived=True)] == [
        (5, ""), (10, "r1-branch-0"), (10, ""), (15, "r1-branch-0"),
    ]  # fmt: skip


def test_several_runs_are_read_one_after_another_and_a_folder_given_twice_once(tmp_path: Path) -> None:
    save_record(tmp_path / "a", 20, run_id="one")
    save_record(tmp_path / "b", 3, run_id="two")
    records = Records(tmp_path / "a", tmp_path / "b", tmp_path / "a")

    assert [(record.run, record.step) for record in records] == [("one", 20), ("two", 3)]


def test_a_record_of_an_earlier_version_has_none_for_later_keys_and_no_remark(tmp_path: Path) -> None:
    earlier = {key: value for key, value in a_record(5).items() if key in KEYS[:62]} | {"schema_version": 1}
    (tmp_path / "Statistik_5.json").write_text(json.dumps(earlier))
    (record,) = Records(tmp_path)

    assert record.values["training_data"] is None
    assert record.remarks == ()


def test_a_key_that_its_version_has_and_a_step_of_another_file_are_remarked(tmp_path: Path) -> None:
    (tmp_path / "Statistik_6.json").write_text(
        json.dumps({key: value for key, value in a_record(5).items() if key != "grad_norm"})
    )
    (record,) = Records(tmp_path)

    assert record.step == 6
    assert {(remark.key, remark.text) for remark in record.remarks} == {
        ("grad_norm", "is missing"), ("step_current", "is 5, but the file's name says 6"),
    }  # fmt: skip


def test_values_of_the_wrong_kind_are_converted_where_that_is_certain_and_none_elsewhere(tmp_path: Path) -> None:
    values = a_record(5) | {
        "total_loss_value": " 0.25 ", "l1_loss_value": float("nan"), "ms_loss_value": "0,5", "epoch_num": 3.0,
        "world_size": "4", "samples_seen": 2.5, "training_paused": "false", "lr_phase_name": 7,
        "gradient_loss_value": "inf", "layer_activity_map": {"a": "NaN", "b": 1}, "per_rank": [{"x": float("inf")}],
    }  # fmt: skip
    (tmp_path / "Statistik_5.json").write_text(json.dumps(values))
    (record,) = Records(tmp_path)

    kinds = {remark.key: remark.kind for remark in record.remarks}
    assert {key: record.values[key] for key in values if record.values[key] != values[key]} == {
        "total_loss_value": 0.25, "l1_loss_value": None, "ms_loss_value": None, "world_size": 4, "samples_seen": None,
        "training_paused": False, "lr_phase_name": None, "gradient_loss_value": None,
        "layer_activity_map": {"a": None, "b": 1}, "per_rank": [{"x": None}],
    }  # fmt: skip
    assert type(record.values["epoch_num"]) is int
    converted = ("total_loss_value", "epoch_num", "world_size", "training_paused")
    assert {key for key, kind in kinds.items() if kind is RemarkKind.CONVERTED} == set(converted)
    assert {key for key, kind in kinds.items() if kind is RemarkKind.NOT_FINITE} == {
        "l1_loss_value", "gradient_loss_value", "layer_activity_map.a", "per_rank",
    }  # fmt: skip
    assert Remark("ms_loss_value", RemarkKind.DROPPED, "was '0,5', which is of the wrong kind") in record.remarks


def test_every_file_that_cannot_be_used_is_named_with_its_reason_and_the_rest_is_read(tmp_path: Path) -> None:
    whole = encode_record(a_record(1))
    bad = {
        "Statistik_2.json": whole[:-30], "Statistik_3.json": b"", "Statistik_4.json": bytes(64),
        "Statistik_5.json": json.dumps(a_record(5)).encode("utf-16"), "Statistik_6.json": b"[1, 2]",
        "Statistik_7.json": b'{"name": "package", "version": "1"}', "Statistik_8.json": b'{"a": x}',
        "Statistik_1.json.gz": gzip.compress(whole), "Statistik_9.json.gz": gzip.compress(whole)[:-20],
        "Statistik_10.json.gz": whole, "Statistik_007.json": whole, "Statistik_5_best.json": whole,
        "Statistik_11.json": b"[" * 100_000,
    }  # fmt: skip
    (tmp_path / "Statistik_1.json").write_bytes(whole)
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "Statistik_12.json")
    (tmp_path / "Statistik_13.json").symlink_to("nowhere")
    records = Records(tmp_path)

    assert steps(records) == [1]
    assert reasons(records) == {
        "Statistik_2.json": reasons(records)["Statistik_2.json"],
        "Statistik_3.json": "it is empty",
        "Statistik_4.json": "it holds only zero bytes or blanks",
        "Statistik_5.json": "it is not text in UTF-8",
        "Statistik_6.json": "it holds no JSON object",
        "Statistik_7.json": "it is no record: it has no layer_activity_map",
        "Statistik_8.json": "it is not JSON at line 1, column 7",
        "Statistik_1.json.gz": "it is of the same step as Statistik_1.json, which is used",
        "Statistik_9.json.gz": "it is cut off: the packed data ends too early",
        "Statistik_10.json.gz": "it is no gzip file, or a damaged one",
        "Statistik_007.json": "its name is none of Statistik_<step>.json",
        "Statistik_5_best.json": "its name is none of Statistik_<step>.json",
        "Statistik_11.json": "it is nested too deeply",
        "Statistik_12.json": "it is no ordinary file",
        "Statistik_13.json": "it cannot be read (No such file or directory)",
    }
    assert reasons(records)["Statistik_2.json"].startswith("it is cut off: not JSON at line")


def test_a_byte_order_mark_is_no_obstacle_but_remarked(tmp_path: Path) -> None:
    (tmp_path / "Statistik_5.json").write_bytes(b"\xef\xbb\xbf" + encode_record(a_record(5)))

    assert [record.remarks[0].text for record in Records(tmp_path)] == ["begins with a byte order mark"]


def test_a_folder_of_other_files_or_none_is_a_problem_and_a_run_without_a_record_is_not(tmp_path: Path) -> None:
    other, new = tmp_path / "other", tmp_path / "new"
    other.mkdir()
    (other / "package.json").write_text("{}")
    new.mkdir()
    (new / "run.json").write_text("{}")
    save_record(tmp_path / "run", 5)
    records = Records(tmp_path / "gone", other, new, tmp_path / "run", tmp_path)

    assert steps(records) == [5]
    assert reasons(records) == {
        "gone": "it cannot be read (No such file or directory)",
        "other": "it holds no Statistik_<step>.json, but other files, as package.json",
        tmp_path.name: "it holds no Statistik_<step>.json; run in it does: name the directories of runs",
    }


def test_a_row_is_flat_and_layers_become_columns_by_choice(tmp_path: Path) -> None:
    save_record(tmp_path, 5, layer_activity_map={"a": 100.0, "b": 30.0}, layer_activity_raw_map={"a": 2.0, "b": 0.6})
    (row,) = Records(tmp_path).rows()
    (wide,) = Records(tmp_path).rows(layers=True)

    assert list(row) == ["run", "branch", "file", "origin", "remarks", *KEYS]
    assert (row["run"], row["file"], row["origin"]) == ("r1", "Statistik_5.json", "leitstand")
    assert (wide["layer_activity_map.b"], wide["layer_activity_raw_map.a"]) == (30.0, 2.0)
    assert "layer_activity_map" not in wide


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_have_a_row_per_record_and_a_column_per_key(library: str, tmp_path: Path) -> None:
    pytest.importorskip(library)
    save_record(tmp_path, 10, layer_activity_map={"new layer": 100.0}, layer_activity_raw_map={})
    save_record(tmp_path, 5)
    records = Records(tmp_path)
    frame = records.to_pandas(layers=True) if library == "pandas" else records.to_polars(layers=True)

    assert list(frame["step_current"]) == [5, 10]
    assert set(KEYS) - {"layer_activity_map", "layer_activity_raw_map"} <= set(frame.columns)
    assert list(frame["layer_activity_map.new layer"])[1] == 100.0
