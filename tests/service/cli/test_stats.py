"""`leitstand stats`, over a real HTTP server."""

import hashlib
import json
from pathlib import Path

import pytest

from service.cli import exit_code
from tests.service.harness.stand_in import Answer, StandIn, page

MEDIA_TYPES = {"csv": "text/csv", "jsonl": "application/jsonl"}


def test_stats_list_is_an_aligned_table(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    entry = {
        "name": "Statistik_500.json", "step": 500, "size_bytes": 9, "modified_at": 0.0, "sha256": "0",
        "trigger": "schedule", "quality_ki_value": 0.7, "quality_lr_value": 0.6, "quality_improvement_value": 0.1,
        "validation_loss_value": 0.01, "psnr_ki_db": 30.0, "url": "/statistics/Statistik_500.json",
    }  # fmt: skip
    later = {**entry, "name": "Statistik_10000.json", "step": 10000, "psnr_ki_db": None, "trigger": "manual"}
    unreadable = [{"name": "Statistik_3.json", "reason": "not JSON"}]
    server.on("GET", "/statistics", Answer({"records": [entry, later], "unreadable": unreadable, "count": 2}))

    assert exit_code(["stats", "list", "--url", server.url]) == 0
    printed = capsys.readouterr()
    heading, first, second = printed.out.splitlines()
    assert heading.startswith("record                    KI      LR     gain  PSNR KI     loss  trigger   saved at")
    assert first.startswith("Statistik_500.json    0.7000  0.6000  +0.1000    30.00  0.01000  schedule  1970-01-01")
    assert second.startswith("Statistik_10000.json  0.7000  0.6000  +0.1000        –  0.01000  manual    1970-01-01")
    assert printed.err == "unreadable: Statistik_3.json (not JSON)\n"


def test_stats_list_without_records_says_when_there_will_be_one(
    server: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    server.on("GET", "/statistics", Answer({"records": [], "unreadable": [], "count": 0}))

    assert exit_code(["stats", "list", "--url", server.url]) == 0
    assert "after every validation" in capsys.readouterr().out


def listed(steps: list[int], next_cursor: str | None = None, count: int = 3) -> Answer:
    entries = [
        {"name": f"Statistik_{step}.json", "step": step, "size_bytes": 9, "modified_at": 0.0, "sha256": "0",
         "trigger": "schedule", "quality_ki_value": 0.7, "quality_lr_value": 0.6, "quality_improvement_value": 0.1,
         "validation_loss_value": 0.01, "psnr_ki_db": 30.0, "url": f"/statistics/Statistik_{step}.json"}
        for step in steps
    ]  # fmt: skip
    return page("records", entries, next_cursor, unreadable=[], count=count)


def test_stats_list_shows_all_pages_in_line_under_one_heading(
    server: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    server.on("GET", "/statistics", listed([5, 10], "next"), listed([1_000_000]))

    assert exit_code(["stats", "list", "--url", server.url]) == 0
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.startswith("record                 KI      LR")
    assert lines[0].startswith("Statistik_5.json   0.7000")
    assert lines[2].startswith("Statistik_1000000.json  0.7000")


def test_stats_list_can_be_the_newest_only(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    server.on("GET", "/statistics", listed([30, 20], "next"))

    assert exit_code(["stats", "list", "--limit", "2", "--url", server.url]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == [
        "Statistik_20.json", "Statistik_30.json",
    ]  # fmt: skip
    assert exit_code(["stats", "list", "--limit", "1", "--json", "--url", server.url]) == 0
    assert [entry["step"] for entry in json.loads(capsys.readouterr().out)["records"]] == [30]


def test_a_record_is_shown_line_by_line(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    record = {"step_current": 500, "quality_ki_value": 0.712345678, "slow_rank": None, "training_active": True,
              "trigger": "manual", "per_rank": [{}, {}], "layer_activity_map": {"a": 1.0}}  # fmt: skip
    server.on("GET", "/statistics/Statistik_500.json", Answer(record))

    assert exit_code(["stats", "show", "500", "--url", server.url]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "step_current        500",
        "quality_ki_value    0.712346",
        "slow_rank           –",
        "training_active     true",
        "trigger             manual",
        "per_rank            2 entries",
        "layer_activity_map  1 entries",
    ]


@pytest.mark.parametrize("as_json", [False, True])
def test_a_record_is_saved_and_its_path_said(
    server: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    content = b'{"step_current": 500}\n'
    headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
    server.on("GET", "/statistics/Statistik_500.json", Answer(content, headers=headers))

    flags = ["--json"] if as_json else []
    assert exit_code(["stats", "get", "Statistik_500.json", str(tmp_path), *flags, "--url", server.url]) == 0
    printed = capsys.readouterr().out
    assert (json.loads(printed)["path"] if as_json else printed.strip()) == str(tmp_path / "Statistik_500.json")
    assert (tmp_path / "Statistik_500.json").read_bytes() == content


@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
def test_all_records_are_one_table_on_the_output_or_in_a_file(
    server: StandIn, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], file_format: str
) -> None:
    content = "trigger,größe\n".encode() * 10_000
    server.on("GET", "/statistics", Answer(content, headers={"Content-Type": MEDIA_TYPES[file_format]}))

    assert exit_code(["stats", file_format, "--url", server.url]) == 0
    assert exit_code(["stats", file_format, "-", "--url", server.url]) == 0
    assert exit_code(["stats", file_format, str(tmp_path / "all"), "--url", server.url]) == 0
    printed = capfdbinary.readouterr().out
    assert printed.startswith(2 * content)
    rows = "9999 rows, 2 columns" if file_format == "csv" else "10000 rows"
    assert printed.removeprefix(2 * content).decode() == f"{tmp_path / 'all'}: {rows}, 156.2 KiB\n"
    assert (tmp_path / "all").read_bytes() == content
    assert exit_code(["stats", file_format, str(tmp_path / "all"), "--url", server.url]) == 2
    assert b"exists and is not replaced; to replace it, write --out" in capfdbinary.readouterr().err
    assert exit_code(["stats", file_format, "--out", str(tmp_path / "all"), "--json", "--url", server.url]) == 0
    answer = json.loads(capfdbinary.readouterr().out)
    assert (answer["path"], answer["bytes"]) == (str(tmp_path / "all"), len(content))
    assert exit_code(["stats", file_format, "--out", "/dev/null", "--url", server.url]) == 0
    assert capfdbinary.readouterr().out == b""
    assert server.targets == [f"/statistics?format={file_format}"] * 5


@pytest.mark.parametrize("line", [["stats", "csv", "{}/none/all.csv"], ["stats", "get", "500", "{}/file"]])
def test_a_place_that_cannot_be_written_is_one_sentence(
    server: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: list[str]
) -> None:
    (tmp_path / "file").touch()
    server.on("GET", "/statistics", Answer(b"a\n", headers={"Content-Type": "text/csv"}))
    server.on("GET", "/statistics/Statistik_500.json", Answer(b"a\n"))

    assert exit_code([*(text.format(tmp_path) for text in line), "--url", server.url]) == 2
    error = capsys.readouterr().err
    assert error.startswith("Error: ")
    assert str(tmp_path) in error


def test_a_comparison_has_a_step_a_row_and_a_run_a_column(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    records = [
        {"run_id": "b", "step": 20, "values": {"psnr_ki_db": 31.5, "trigger": "manual"}},
        {"run_id": "b", "step": 10, "values": {"psnr_ki_db": None, "trigger": "schedule"}},
        {"run_id": "a", "step": 20, "values": {"psnr_ki_db": 30.0, "trigger": "schedule"}},
    ]
    body = {"names": ["psnr_ki_db", "trigger"], "runs": ["a", "b"], "records": records}
    server.on("GET", "/statistics/compare", Answer(body))

    line = ["stats", "compare", "a", "b", "--step", "20", "--names", "psnr_ki_db,trigger", "--url", server.url]
    assert exit_code(line) == 0
    assert capsys.readouterr().out.splitlines() == [
        "psnr_ki_db",
        "step   a     b",
        "  10   –     –",
        "  20  30  31.5",
        "",
        "trigger",
        "step         a         b",
        "  10         –  schedule",
        "  20  schedule    manual",
    ]
    assert server.targets == ["/statistics/compare?runs=a%2Cb&names=psnr_ki_db%2Ctrigger&step=20"]


def test_a_comparison_without_records_says_so(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    server.on("GET", "/statistics/compare", Answer({"names": [], "runs": ["a"], "records": []}))

    assert exit_code(["stats", "compare", "a", "--step", "latest", "--url", server.url]) == 0
    assert capsys.readouterr().out == "None of these runs has a record of step latest.\n"
    assert exit_code(["stats", "compare", "a", "--step", "soon", "--url", server.url]) == 2
    assert "--step is 'soon'" in capsys.readouterr().err
