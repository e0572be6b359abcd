"""`leitstand stats check`, `plot`, `report`, `compare` and `csv` of a server's runs: as of their directories."""

import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from service.cli import exit_code
from service.config.loader import plain_values
from service.config.settings import RunConfig
from service.run.record import Record
from tests.service.harness.saved_records import a_record, save_record
from tests.service.harness.stand_in import Answer, Request, StandIn, page, problem

PICTURE = b"RIFF\x00\x00\x00\x00WEBPVP8 "


def records_of(count: int = 12, **values: Any) -> list[Record]:
    return [
        a_record(step, quality_ki_value=0.5 + step / 100_000, samples_seen=8 * step, iteration_duration=0.5, **values)
        for step in range(500, 500 * count + 1, 500)
    ]


def serve_records(
    server: StandIn, records: Sequence[Record], prefix: str = "", unreadable: Sequence[Mapping[str, str]] = ()
) -> None:
    """Answer as the API does: the export has all records, the list says what is none."""
    lines = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    listed = page("records", [], None, unreadable=list(unreadable), count=len(records) + len(unreadable))

    def statistics(request: Request) -> Answer:
        is_export = "format=jsonl" in request.target
        return Answer(lines, headers={"Content-Type": "application/jsonl"}) if is_export else listed

    server.on("GET", f"{prefix}/statistics", statistics)
    server.on("GET", f"{prefix}/statistics/latest", Answer(records[-1]) if records else problem(404, "None."))
    server.on("GET", f"{prefix}/settings", Answer(settings_answer()))
    server.on("GET", f"{prefix}/state", Answer({"run_id": "r1", "run_state": "paused", "run_note": "first try"}))


def settings_answer() -> dict[str, Any]:
    settings = plain_values(RunConfig(n_feats=96, lr_scale=0.5))
    return {"settings": settings, "changes": {"LR_SCALE": 0.5}, "pins": {}, "pending": [], "changeable": []}


def save_all(folder: Path, records: Sequence[Record]) -> Path:
    for record in records:
        save_record(folder, record["step_current"], **record)
    return folder


def test_a_check_of_a_server_finds_what_a_check_of_its_directory_finds(
    server: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = records_of()
    records[5]["slow_rank"], records[6]["quality_ki_value"] = 1, 0.1
    serve_records(server, records)

    assert exit_code(["stats", "check", "--json", str(save_all(tmp_path / "run", records))]) == 1
    of_directory = json.loads(capsys.readouterr().out)["findings"]
    assert exit_code(["stats", "check", "--json", "--url", server.url]) == 1
    of_server = json.loads(capsys.readouterr().out)["findings"]
    assert [{**finding, "directory": ""} for finding in of_directory] == [
        {"directory": "", **{key: value for key, value in finding.items() if key != "run"}} for finding in of_server
    ]
    assert {finding["run"] for finding in of_server} == {"r1"}


def test_files_that_the_server_cannot_read_are_named_and_the_exit_code_is_2(
    server: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    serve_records(server, records_of(), unreadable=[{"name": "Statistik_3.json", "reason": "it is no JSON"}])

    assert exit_code(["stats", "check", "--url", server.url]) == 2
    assert capsys.readouterr().err == "unreadable: r1/Statistik_3.json (it is no JSON)\n"


def test_an_answer_that_is_cut_off_is_one_sentence(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    serve_records(server, [])
    cut = Answer(b'{"step_current": 5', headers={"Content-Type": "application/jsonl", "Content-Length": "900"})
    listed = page("records", [], None, unreadable=[], count=3)
    server.on("GET", "/statistics", lambda request: cut if "format" in request.target else listed)

    assert exit_code(["stats", "check", "--url", server.url]) == 3
    assert "broke off before its end; try again" in capsys.readouterr().err


def test_lines_that_are_no_records_are_left_out_and_named(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    serve_records(server, records_of(3))
    lines = json.dumps(records_of(1)[0]) + '\n{"step_current": -1}\nnothing\n{"step_current": 7}\n'
    export = Answer(lines.encode(), headers={"Content-Type": "application/jsonl"})
    listed = page("records", [], None, unreadable=[], count=4)
    server.on("GET", "/statistics", lambda request: export if "format" in request.target else listed)

    assert exit_code(["stats", "check", "--url", server.url]) == 2
    errors = capsys.readouterr().err
    assert "record 2 (its step_current is -1)" in errors
    assert "record 3 (it is" in errors
    assert "record 4 (it is no record: it has no" in errors


def test_a_picture_of_a_servers_runs_is_that_of_their_directories(server: StandIn, tmp_path: Path) -> None:
    first, second = records_of(), records_of(8)
    serve_records(server, first, "/runs/a")
    serve_records(server, second, "/runs/b")
    save_all(tmp_path / "a", first)
    save_all(tmp_path / "b", second)
    for place, names in (("directories", [str(tmp_path / "a"), str(tmp_path / "b")]), ("server", ["a", "b"])):
        asked = ["--url", server.url] if place == "server" else []
        assert exit_code(["stats", "plot", *names, "--out", str(tmp_path / f"{place}.png"), *asked]) == 0

    assert (tmp_path / "server.png").read_bytes() == (tmp_path / "directories.png").read_bytes()


def test_runs_of_a_server_compare_by_their_best_with_a_verdict(
    server: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    serve_records(server, records_of(), "/runs/a")
    serve_records(server, records_of(8, validation_data="other"), "/runs/b")
    runs = [{"run_id": "a"}, {"run_id": "b"}]
    server.on("GET", "/runs", page("runs", runs, None, skipped=[]))

    assert exit_code(["stats", "compare", "--summary", "--json", "--url", server.url]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [(run["run"], run["best_step"]) for run in answer["runs"]] == [("a", 6000), ("b", 4000)]
    assert answer["differences"]["validation_data"] == {"a": "v", "b": "other"}
    assert "not validated on the same images" in answer["verdict"]
    assert exit_code(["stats", "compare", "--summary", "--step", "5", "--url", server.url]) == 2
    assert "--summary stands alone" in capsys.readouterr().err


def test_a_report_of_a_server_has_pictures_settings_events_and_findings(server: StandIn, tmp_path: Path) -> None:
    serve_records(server, records_of())
    pictures = [{"step": step, "name": "a.webp", "size_bytes": 1, "url": ""} for step in (6000, 500)]

    def previews(request: Request) -> Answer:
        return page("previews", [one for one in pictures if f"step={one['step']}&" in request.target] or pictures)

    server.on("GET", "/previews", previews)
    for step in (500, 6000):
        server.on("GET", f"/previews/{step}/a.webp", Answer(PICTURE, headers={"Content-Type": "image/webp"}))
    server.on("GET", "/checkpoints", Answer({"checkpoints": [{"name": "step_0000500"}], "unreadable": []}))
    rollback = {"from_step": 900, "checkpoint": "step_0000500", "reason": "command of anna"}
    events = [
        {"id": 3, "kind": "record", "step": 6000, "time": 3e9, "details": {}},
        {"id": 2, "kind": "rollback", "step": 500, "time": 2e9, "details": rollback},
        {"id": 1, "kind": "started", "step": 0, "time": 1e9, "details": {"step": 0, "world_size": 2}},
    ]
    server.on("GET", "/event-log", page("events", events))

    for language, name in (("en", "r.html"), ("de", "b.html")):
        line = ["stats", "report", "--url", server.url, "--language", language, "--out", str(tmp_path / name)]
        assert exit_code(line) == 0
    english, german = ((tmp_path / name).read_text() for name in ("r.html", "b.html"))
    assert re.findall(r"<h3>step (\d+)</h3>", english) == ["500", "6000"]
    assert english.count("<img ") == 2
    text = html.unescape(re.sub(r"<[^>]*>", " ", english))
    assert "first try" in text
    assert "from step 900 to step_0000500 (command of anna)" in text
    assert re.search(r"N_FEATS +96 +–", text)
    assert re.search(r"LR_SCALE +0.5 +leitstand set", text)
    assert "step_0000500" in text
    assert "Zurückgegangen auf step_0000500: command of anna" in german
    assert "Gestartet auf 2 Rängen" in german


def test_a_report_without_events_and_pictures_says_so_and_is_written(
    server: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    serve_records(server, records_of())

    assert exit_code(["stats", "report", "--url", server.url, "--json", "--out", str(tmp_path / "r.html")]) == 0
    printed = capsys.readouterr()
    assert "without events: There is no /event-log" in printed.err
    assert json.loads(printed.out) == {
        "path": str(tmp_path / "r.html"), "size_bytes": (tmp_path / "r.html").stat().st_size,
    }  # fmt: skip
    assert "The run saved no pictures." in (tmp_path / "r.html").read_text()


def test_a_name_that_is_no_directory_is_a_run_only_if_a_server_is_named(
    server: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert exit_code(["stats", "check", str(tmp_path / "gone")]) == 2
    assert f"{tmp_path}/gone is no directory; name directories of runs, or with --url" in capsys.readouterr().err

    serve_records(server, records_of(), "/runs/gone")
    monkeypatch.setenv("LEITSTAND_URL", server.url)
    assert exit_code(["stats", "check", "gone"]) == 0
    save_all(tmp_path / "here", records_of(2))
    assert exit_code(["stats", "check", str(tmp_path / "here")]) == 0
    assert exit_code(["stats", "check", str(tmp_path / "here"), "gone"]) == 2


def test_a_report_is_about_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["stats", "report", str(tmp_path), str(tmp_path)]) == 2
    assert "A report is about one run, but 2 are given" in capsys.readouterr().err


PROVENANCE = {
    "code": {"version": "0.1.0", "commit": "c" * 40}, "python": "3.11.9", "torch": "2.9.1", "host": "box-7",
    "packages": {"torch": "2.9.1", "numpy": "2.3.0"}, "settings": {"N_FEATS": 96}, "origins": {"N_FEATS": "file"},
}  # fmt: skip


def serve_provenance(server: StandIn, sha256: str) -> None:
    server.on("GET", f"/provenance/{sha256}", Answer(PROVENANCE))


def test_a_comparison_of_a_servers_runs_names_different_versions(
    server: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    for run, torch in (("one", "2.9.1"), ("two", "2.8.0")):
        serve_records(server, records_of(provenance=f"{run:0>64}"), f"/runs/{run}")
        server.on("GET", f"/runs/{run}/provenance/{run:0>64}", Answer({**PROVENANCE, "torch": torch}))

    assert exit_code(["stats", "compare", "--summary", "one", "two", "--url", server.url, "--json"]) == 0
    printed = capsys.readouterr().out
    assert "2.9.1" in printed
    assert "2.8.0" in printed


def test_a_command_shows_the_newest_starts_provenance_or_that_of_a_sha256(
    server: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    serve_records(server, records_of(provenance="a" * 64))
    serve_provenance(server, "a" * 64)

    assert exit_code(["provenance", "--url", server.url]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert {"leitstand": "0.1.0", "torch": "2.9.1", "host": "box-7", "N_FEATS": "96 (file)"}.items() <= {
        tuple(line) for line in lines
    }
    assert exit_code(["provenance", "a" * 64, "--json", "--url", server.url]) == 0
    assert json.loads(capsys.readouterr().out) == PROVENANCE
    assert exit_code(["provenance", "b" * 64, "--url", server.url]) != 0


def test_records_of_an_earlier_version_have_no_provenance_to_show(
    server: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    serve_records(server, records_of())

    assert exit_code(["provenance", "--url", server.url]) == 2
    assert "does not say from what its start was made" in capsys.readouterr().err
