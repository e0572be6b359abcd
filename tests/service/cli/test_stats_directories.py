"""`leitstand stats` on run directories, without a server."""

import csv
import json
from pathlib import Path

import pytest

from service.cli import exit_code
from service.run.record import KEYS
from tests.service.harness.saved_records import a_record, save_original, save_record


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """The exit code, the output and the errors of one command."""
    code = exit_code(["stats", *map(str, arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_a_list_is_in_the_order_of_steps_and_the_newest_by_choice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (10_000, 500, 2000):
        save_record(tmp_path, step, quality_ki_value=step / 20_000)
    code, out, err = run(capsys, "list", tmp_path)
    _, newest, _ = run(capsys, "list", tmp_path, "--limit", "2")

    assert (code, err) == (0, "")
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [
        ["Statistik_500.json", "0.0250"], ["Statistik_2000.json", "0.1000"], ["Statistik_10000.json", "0.5000"],
    ]  # fmt: skip
    assert [line.split()[0] for line in newest.splitlines()[1:]] == ["Statistik_2000.json", "Statistik_10000.json"]


def test_a_list_of_several_directories_names_them_and_flags_the_original_systems_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_record(tmp_path / "new", 5)
    save_record(tmp_path / "new" / "archive" / "r1-branch-0", 10)
    save_original(tmp_path / "old", 500)
    code, out, err = run(capsys, "list", "--archived", tmp_path / "new", tmp_path / "old")
    _, answer, _ = run(capsys, "list", "--json", tmp_path / "old")

    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:]] == [
        "new/Statistik_5.json", "new/archive/r1-branch-0/Statistik_10.json", "old/Statistik_500.json",
    ]  # fmt: skip
    assert "original" in out
    assert err.startswith("1 record with remarks on values")
    (entry,) = json.loads(answer)["records"]
    assert (entry["origin"], entry["step"], entry["remarks"][0]["kind"]) == ("original", 500, "doubtful")


def test_bad_files_are_named_the_rest_is_used_and_the_exit_code_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_record(tmp_path, 5)
    (tmp_path / "Statistik_7.json").write_text('{"step_current": ')
    for command in (["list"], ["csv"], ["jsonl"], ["compare"]):
        code, out, err = run(capsys, *command, tmp_path)
        assert code == 2, command
        assert "0.5" in out
        assert err.startswith(f"unreadable: {tmp_path / 'Statistik_7.json'} (it is cut off: not JSON at line 1")


def test_a_run_without_a_record_is_no_error_and_a_missing_directory_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.json").write_text("{}")

    assert run(capsys, "list", tmp_path) == (0, "No record yet: one is saved after every validation.\n", "")
    assert run(capsys, "list", tmp_path / "gone")[0] == 2


def test_one_record_is_shown_by_step_name_or_as_the_latest_with_remarks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_record(tmp_path, 900)
    save_original(tmp_path, 500)
    (tmp_path / "Statistik_1000.json").write_text("")

    code, out, err = run(capsys, "show", tmp_path, "--json")
    assert (code, json.loads(out)) == (2, a_record(900))
    assert "Statistik_1000.json (it is empty)" in err
    for name in ("500", "Statistik_500.json"):
        code, out, err = run(capsys, "show", tmp_path, name)
        assert (code, out.split()[:2]) == (0, ["step_current", "500"])
        assert "converted: step_current was 502, when the file was written" in err
    code, _, err = run(capsys, "show", tmp_path, "1000")
    assert code == 2
    assert "no record 1000 that can be read (Statistik_1000.json: it is empty)" in err


def test_a_csv_has_every_key_and_by_choice_a_column_for_every_layer_of_any_record(tmp_path: Path) -> None:
    save_record(tmp_path / "a", 10, layer_activity_map={"x": 100.0}, init_from="=cmd()")
    save_record(tmp_path / "a", 9, layer_activity_map={"y": 100.0})
    plain, wide = tmp_path / "plain.csv", tmp_path / "wide.csv"

    assert exit_code(["stats", "csv", str(tmp_path / "a"), "--out", str(plain)]) == 0
    assert exit_code(["stats", "csv", str(tmp_path / "a"), "--layers", "--out", str(wide)]) == 0
    with plain.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["run", "branch", "file", "origin", "remarks", *KEYS]
    assert [row["step_current"] for row in rows] == ["9", "10"]
    assert json.loads(rows[1]["layer_activity_map"]) == {"x": 100.0}
    assert rows[1]["init_from"] == "'=cmd()"
    with wide.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["layer_activity_map.x"], row["layer_activity_map.y"]) for row in rows] == [
        ("", "100.0"),
        ("100.0", ""),
    ]
    assert "layer_activity_map" not in rows[0]


def test_a_table_that_cannot_be_written_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_record(tmp_path, 10)
    code, _, err = run(capsys, "csv", tmp_path, "--out", tmp_path / "no" / "such" / "file.csv")

    assert (code, err.count("\n")) == (2, 1)
    assert "cannot be written" in err


def test_directories_are_compared_at_a_step_or_at_the_latest_of_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_record(tmp_path / "a", 10, psnr_ki_db=30.0)
    save_record(tmp_path / "a", 20, psnr_ki_db=31.0)
    save_record(tmp_path / "b", 10, psnr_ki_db=29.0)
    both = (tmp_path / "a", tmp_path / "b")
    _, at_step, _ = run(capsys, "compare", *both, "--step", "10", "--names", "psnr_ki_db")
    _, latest, _ = run(capsys, "compare", *both, "--step", "latest", "--names", "psnr_ki_db", "--json")

    assert [line.split() for line in at_step.splitlines()] == [["psnr_ki_db"], ["step", "a", "b"], ["10", "30", "29"]]
    assert [(entry["run_id"], entry["step"]) for entry in json.loads(latest)["records"]] == [("b", 10), ("a", 20)]
    assert run(capsys, "compare", *both, "--names", "nonsense")[2].startswith("Error: nonsense is no key of a record")
    code, _, err = run(capsys, "compare", tmp_path / "a", "5f0c1e77ab42")
    assert code == 2
    assert "5f0c1e77ab42 is no directory" in err


def test_a_directory_and_a_server_exclude_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_record(tmp_path, 10)

    assert "exclude each other" in run(capsys, "list", tmp_path, "--url", "http://127.0.0.1:1")[2]


def test_a_check_ends_with_1_where_something_was_found_2_where_a_file_is_bad_and_else_with_0(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for step, quality in ((500, 0.6), (1000, 0.61), (1500, 0.62)):
        save_record(tmp_path, step, quality_ki_value=quality)
    assert run(capsys, "check", tmp_path) == (0, f"{tmp_path}: nothing found\n", "")

    save_record(tmp_path, 2000, quality_ki_value=0.3)
    code, out, err = run(capsys, "check", tmp_path)
    assert (code, err) == (1, "")
    assert out.splitlines()[1].startswith("  regression, step 2000: Quality fell to 0.3000 at step 2000, from 0.6200")

    (tmp_path / "Statistik_2500.json").write_text("")
    code, out, _ = run(capsys, "check", tmp_path, "--json")
    assert code == 2
    assert [finding["kind"] for finding in json.loads(out)["findings"]] == ["regression"]
    assert json.loads(out)["unreadable"][0]["reason"] == "it is empty"


def test_directories_compare_by_their_best_at_equal_places_with_a_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in range(500, 4001, 500):
        save_record(tmp_path / "a", step, quality_ki_value=0.6 + step / 1e5, samples_seen=8 * step)
        save_record(tmp_path / "b", step, quality_ki_value=0.5 + step / 1e5, samples_seen=16 * step, world_size=4)
    code, out, err = run(capsys, "compare", tmp_path / "a", tmp_path / "b")
    _, answer, _ = run(capsys, "compare", "--json", tmp_path / "a", tmp_path / "b")
    lines = [line.split() for line in out.splitlines()]

    assert (code, err) == (0, "")
    assert lines[0] == ["a", "b"]
    assert ["best", "quality", "KI", "0.6400", "0.5400"] in lines
    assert ["at", "32000", "samples", "0.6400", "0.5200"] in lines
    assert "differs: world_size: a 2, b 4" in out
    assert out.splitlines()[-1].startswith("a is better than b: 0.6400 (step 4000) against 0.5400 (step 4000)")
    assert all(len(line) <= 80 for line in out.splitlines()[:-1])
    assert json.loads(answer)["verdict"] == out.splitlines()[-1]
    assert json.loads(answer)["places"][1] == {
        "axis": "samples", "at": 32_000,
        "quality_ki_value": {"a": {"step": 4000, "value": 0.64}, "b": {"step": 2000, "value": 0.52}},
    }  # fmt: skip


@pytest.mark.parametrize("command", ["csv", "jsonl"])
def test_an_export_says_what_it_has_written(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    for step in (500, 1000):
        save_record(tmp_path / "a", step)
    file = tmp_path / "all"

    code, said, _ = run(capsys, command, tmp_path / "a", "--out", file)
    _, answer, _ = run(capsys, command, tmp_path / "a", "--out", file, "--json")
    _, lines, _ = run(capsys, command, tmp_path / "a")

    columns = f", {len(lines.splitlines()[0].split(','))} columns" if command == "csv" else ""
    assert code == 0
    assert said.startswith(f"{file}: 2 rows{columns}, ")
    assert said.endswith(" KiB\n")
    assert (json.loads(answer)["rows"], json.loads(answer)["bytes"]) == (2, file.stat().st_size)
    assert len(lines.splitlines()) == (3 if command == "csv" else 2)


def test_a_step_that_no_run_has_a_record_of_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_record(tmp_path / "a", 500)

    code, out, err = run(capsys, "compare", tmp_path / "a", "--step", "999")

    assert (code, out) == (2, "")
    assert err.startswith("Error: None of these runs has a record of step 999; ")
    assert run(capsys, "compare", tmp_path / "a", "--step", "500")[0] == 0


def test_a_short_training_is_told_in_minutes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for step in (500, 1000):
        save_record(tmp_path / "a", step, iteration_duration=0.12)
        save_record(tmp_path / "b", 60 * step, iteration_duration=0.12)

    assert "at 2.0 min of training" in run(capsys, "compare", tmp_path / "a", tmp_path / "a" / ".." / "a")[1]
    assert "at 2.00 h of training" in run(capsys, "compare", tmp_path / "b", tmp_path / "b" / ".." / "b")[1]
